"""Bad records among good ones: each becomes exactly one dead letter, and the records behind it go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.project import Project, departed, send_foreign, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LATER_MS = 4_070_908_800_000  # 2099
BAD: dict[str, tuple[bytes | None, str, str]] = {
    "invalid UTF-8": (departed(1).replace(b"JFK", b"J\xff\xfeK"), "not_utf8", "$"),
    "bad JSON": (departed(1)[:-1], "bad_json", "$"),
    "no JSON at all": (b"hello", "bad_json", "$"),
    "a missing field": (departed(1).replace(b"delay_min", b"delay_max"), "missing_field", "$.delay_min"),
    "a mistyped field": (departed(1, delay_min="seven"), "wrong_type", "$.delay_min"),
    "a null that may not be": (departed(1, origin=None), "wrong_type", "$.origin"),
    "NaN": (departed(1, delay_min=float("nan")), "not_finite", "$"),
    "a number no float can hold": (departed(1).replace(b"1.0", b"1e999"), "not_finite", "$.delay_min"),
    "a tombstone": (None, "empty_value", "$"),
    "no bytes": (b"", "empty_value", "$"),
    "a megabyte": (departed(1, flight_id="x" * 1_000_000), "too_large", "$"),
    "an event from 2099": (departed(1, departed_at=LATER_MS), "future_time", "$.departed_at"),
    "a naive time": (departed(1, departed_at="2013-02-04T17:46:40"), "naive_time", "$.departed_at"),
    "a time before 1970": (departed(1, departed_at=-1), "out_of_range", "$.departed_at"),
    "nested 10,000 deep": (departed(1, more=0).replace(b"0}", b"[" * 10_000 + b"]" * 10_000 + b"}"), "bad_json", "$"),
    "deep in a field": (departed(1).replace(b"1.0", b"[" * 10_000 + b"]" * 10_000), "bad_json", "$"),
}  # fmt: skip
OURS = {
    "dlq.topic", "dlq.topic_id", "dlq.partition", "dlq.offset", "dlq.timestamp", "dlq.reason", "dlq.stage", "dlq.path",
    "dlq.message", "dlq.app", "dlq.event", "dlq.version", "dlq.attempts", "dlq.first_seen",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose features role runs."""
    project = write_project(tmp_path, unique, kafka=kafka, redis=redis_url)
    with project.running("features"):
        yield project


def test_every_bad_record_is_one_dead_letter_and_the_next_good_one_is_applied(project: Project) -> None:
    topic, dead_letters = f"{project.name}.departed", f"{project.name}.{project.name}.departed.dlq"
    for number, (value, _, _) in enumerate(BAD.values()):
        project.send(topic, value, key=b"k%d" % number, headers=[("source", b"\x00\xff")])
        project.send(topic, departed(number), key=b"k%d" % number)
    published = 2 * len(BAD)
    project.until(lambda: read(project) == published)

    sent = {(each.topic(), each.partition(), each.offset()): each for each in project.records(topic)}
    letters = project.records(dead_letters)
    found = {source_of(each): each for each in letters}
    assert len(letters) == len(found) == len(BAD)
    expected = {number: (reason, path) for number, (_, reason, path) in enumerate(BAD.values())}
    for place, letter in found.items():
        source, headers = sent[place], dict(letter.headers() or ())
        assert (letter.value(), letter.key()) == (source.value(), source.key())
        reason, path = expected.pop(int((letter.key() or b"")[1:]))
        assert (headers["dlq.reason"].decode(), headers["dlq.path"].decode()) == (reason, path), headers
        assert headers.keys() == {*OURS, "source"}
        assert headers["source"] == b"\x00\xff"
        assert 0 < len(headers["dlq.message"]) <= 512
    assert expected == {}
    assert project.features("JFK")["values"] == {"flights_1h": len(BAD), "flights_24h": len(BAD), "delay_24h": len(BAD)}
    assert_conserved(project, published, len(BAD))


def test_a_header_whose_name_is_no_utf8_costs_nobody_anything(project: Project, kafka: str) -> None:
    topic = f"{project.name}.departed"
    send_foreign(kafka, topic, b"not json")
    send_foreign(kafka, topic, departed(1))
    project.send(topic, departed(2))

    project.until(lambda: read(project) == 3)

    [letter] = project.records(f"{project.name}.{project.name}.departed.dlq")
    assert (letter.value(), dict(letter.headers() or ()).keys()) == (b"not json", OURS)
    assert project.features("JFK")["values"]["flights_1h"] == 2
    assert_conserved(project, 3, 1)


def test_a_dead_letter_whose_copy_is_larger_than_its_source_may_be_goes_on(project: Project) -> None:
    topic = f"{project.name}.departed"
    value, key = b"x" * (1024 * 1024), b"k" * 40_000
    project.send(topic, value, key=key, headers=[("source", b"h" * 25_400)])
    project.send(topic, b"y", key=b"k" * 1_113_900)
    project.send(topic, departed(1))

    project.until(lambda: read(project) == 3)

    letters = project.records(f"{project.name}.{project.name}.departed.dlq")
    assert len(letters) == 2
    assert_conserved(project, 3, 2)


def read(project: Project) -> float:
    """Return how many records the intake has read, dead ones included, as the role's rows say."""
    return project.metric("features", "row_records", fold="intake")


def source_of(letter: object) -> tuple[str, int, int]:
    headers = dict(letter.headers() or ())  # type: ignore[attr-defined]
    return headers["dlq.topic"].decode(), int(headers["dlq.partition"]), int(headers["dlq.offset"])


def assert_conserved(project: Project, published: int, dead: int) -> None:
    """Law 5, from the rows: published = decoded + dead letters, and each view's tallies sum to what it read."""
    audit = project.audit()
    intakes = [each for each in audit["intakes"] if each["topic"] == f"{project.name}.departed"]
    assert sum(each["read"] for each in intakes) == published
    assert sum(each["applied"] for each in intakes) == published - dead
    assert sum(each["dead"] for each in intakes) == dead
    for each in audit["partitions"]:
        told = sum(each[name] for name in ("applied", "duplicate", "too_late", "no_entity", "dead"))
        assert each["read"] == told, each
    assert sum(each["read"] for each in audit["partitions"]) == published
