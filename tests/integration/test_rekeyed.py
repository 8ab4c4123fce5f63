"""A rekeyed view on real servers: whatever kill -9 does to the features process, it equals the plain one."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.derived import COPIED_HEADER, CopyHeaders
from streams.records import Partition
from streams.store import Question, Row
from streams.store.redis import RedisStore
from tests.apps.project import Project, children_of
from tests.builders import declare

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

EVENTS, KILLS, SHOPS, PARTITIONS = 40_000, 3, 50, 3
START_MS = 1_360_000_000_000
SOURCE = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Sale(hr.Event, topic="{name}.sales", id="sale", at="at", disorder="1h"):
    sale: int
    shop: str | None
    cents: int
    at: datetime

class Plain(hr.Features, on=Sale, by="shop", version=1):
    sales = hr.count().over("7d")
    cents = hr.sum(Sale.cents).over("7d")

class Shops(hr.Features, on=Sale, by="shop", version=1, rekey=True):
    sales = hr.count().over("7d")
    cents = hr.sum(Sale.cents).over("7d")
"""


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    (tmp_path / "app.py").write_text(SOURCE.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nredis = "{redis_url}"\nadmin_port = 0\nkafka = "{kafka}"\n'
        f"partitions = {PARTITIONS}\n"
    )
    return Project(tmp_path, unique, kafka)


@pytest.fixture
def store(redis_url: str, unique: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, unique)
    yield store
    store.close()


def rows_of(store: RedisStore, fold: str) -> list[Row]:
    """Return a fold's rows."""
    [found] = store.read(Question(folds=[fold]), timeout_ms=5_000).rows
    return [stored.row for stored in found.values()]


def test_kills_neither_lose_nor_double_what_a_rekeyed_view_holds(project: Project, store: RedisStore) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    lines, sales, cents = [], Counter[str](), Counter[str]()
    for number in range(EVENTS):
        shop, paid = f"s{chance.randrange(SHOPS)}" if number % 40 else None, chance.randrange(10_000)
        sale = {"sale": number, "shop": shop, "cents": paid if number % 100 != 1 else "much", "at": START_MS + number}
        lines.append(json.dumps(sale))
        if shop is not None and number % 100 != 1:
            sales[shop] += 1
            cents[shop] += paid
    said = project.command("publish", f"{project.name}.sales", "-", given="\n".join(lines))
    assert said.returncode == 0, said.stderr
    fold = declare(SOURCE.format(name=project.name))["Shops"].definition.key

    def has(count: int) -> bool:
        return sum(row.applied for row in rows_of(store, fold)) >= count

    with project.running("features") as supervisor:
        killed = set[int]()
        for moment in sorted(chance.randrange(1, sales.total() * 9 // 10) for _ in range(KILLS)):
            project.until(lambda: children_of(supervisor.pid).get("features", -1) not in {-1, *killed})
            project.until(lambda moment=moment: has(moment))  # type: ignore[misc]
            killed.add(worker := children_of(supervisor.pid)["features"])
            os.kill(worker, signal.SIGKILL)
        project.until(lambda: has(sales.total()))
    assert project.said().count("features ended by SIGKILL") == KILLS

    audit = project.audit()
    assert (audit["lost"], audit["counted_twice"], audit["problems"]) == (0, 0, [])
    assert [each["read"] for each in audit["copies"]] == [
        each["read"] for each in audit["intakes"] if each["topic"] == f"{project.name}.sales"
    ]
    assert sum(each["applied"] for each in audit["copies"]) == sales.total()
    copies = f"{project.name}.{project.name}.sales.by.shop"
    for shop in sorted(sales)[:3]:
        answers = {view: features(project, view, shop) for view in ("plain", "shops")}
        expected = {"sales_7d": sales[shop], "cents_7d": cents[shop]}
        assert answers["plain"]["values"] == answers["shops"]["values"] == expected
        assert {each["topic"] for each in answers["shops"]["positions"]} == {copies}


def features(project: Project, view: str, shop: str) -> dict:  # type: ignore[type-arg]
    """Return what `headrace features get` answers."""
    said = project.command("features", "get", view, shop, "--as-of", str(START_MS + EVENTS), "--json")
    assert said.returncode == 0, said.stderr
    answer: dict[str, object] = json.loads(said.stdout)
    return answer


def test_features_as_of_comes_up_to_the_present_and_a_copy_topic_can_be_examined(project: Project) -> None:
    with project.running("features"):
        given = json.dumps({"sale": 1, "shop": "s1", "cents": 5, "at": START_MS})
        assert project.command("publish", f"{project.name}.sales", "-", given=given).returncode == 0
        project.until(lambda: features(project, "shops", "s1")["values"]["sales_7d"] == 1)
        reached = features(project, "shops", "s1")["features_as_of"]
        project.until(lambda: (features(project, "shops", "s1")["features_as_of"] or 0) > (reached or 0))
        copy = f"{project.name}.{project.name}.sales.by.shop"
        said = project.command("repair", copy, "--json")
        assert (said.returncode, json.loads(said.stdout)["faults"]) == (0, [])


def test_a_dead_copy_is_put_back_and_counts_once_and_what_nobody_copied_is_not(project: Project) -> None:
    topic = f"{project.name}.sales"
    copy, mended = f"{project.name}.{topic}.by.shop", project.folder / "mended.json"
    mended.write_text(json.dumps({"sale": 7, "shop": "s1", "cents": 40, "at": START_MS}))

    def dlq(*arguments: str, code: int = 0) -> dict[str, Any]:
        said = project.command("dlq", *arguments, "--json")
        assert said.returncode == code, said.stdout + said.stderr
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    with project.running("features"):
        given = json.dumps({"sale": 1, "shop": "s1", "cents": 5, "at": START_MS})
        assert project.command("publish", topic, "-", given=given).returncode == 0
        project.until(lambda: features(project, "shops", "s1")["values"]["sales_7d"] == 1)
        place = {"partition": project.records(copy)[0].partition(), "key": b"s1"}
        source = dict(project.records(copy)[0].headers() or ())[COPIED_HEADER]
        # The copies that a later process sends where an earlier one cannot read them.
        dead = CopyHeaders(Partition(topic, 0, json.loads(source)[0]))(1_000, 0, (2, START_MS))
        project.send(copy, b"{oops", b"{oops", headers=dead, **place)
        project.send(copy, mended.read_bytes(), **place)
        project.until(lambda: sum(each["count"] for each in dlq("list")["groups"]) == 2)
        groups = {each["reason"]: each["count"] for each in dlq("list")["groups"]}
        assert groups == {"bad_json": 1, "no_copy": 1}

        assert len(dlq("replay", copy, "--all", code=1)["still_dead"]) == 2
        [letter] = dlq("list", copy, "--reason", "bad_json")["letters"]
        assert dlq("replay", copy, letter["letter"], "--with", str(mended))["replayed"] == 1
        project.until(lambda: features(project, "shops", "s1")["values"] == {"sales_7d": 2, "cents_7d": 45})
        assert dlq("replay", copy, "--reason", "bad_json")["replayed"] == 0
        assert dlq("discard", copy, "--all", "--because", "no copy")["discarded"] == 1
        assert dlq("list")["groups"] == []
        assert features(project, "plain", "s1")["values"] == {"sales_7d": 1, "cents_7d": 5}
