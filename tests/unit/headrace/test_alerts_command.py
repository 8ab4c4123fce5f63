"""What the on-call person sees: the newest state of each incident, and verdicts that do not outlive their day."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from agents.raise_alerts import ModelVerdict
from agents.transport.in_process import InProcessLog
from headrace.command.alerts import _records, newest_of, verdict_line
from online_models.health import HealthState, Verdict
from streams.messages import Alert, encode
from streams.topics import TopicConfig
from tests.builders import model_definition

MODEL = model_definition(tz="America/New_York")
FIRING = Alert(
    fingerprint="f1", incident="f1.2013-02-08", state="firing", model="late.v1", release="r", signal="score:offline",
    day="2013-02-08", since="2013-02-08", n=900, psi=1.7, total_variation=0.5, message="scores moved",
)  # fmt: skip


async def test_the_last_record_of_an_incident_is_its_state() -> None:
    """An incident that resolved and one that opened later are two, though they share a key."""
    log = InProcessLog()
    await log.create_topics([TopicConfig("demo.alerts", partitions=1)])
    later = msgspec.structs.replace(FIRING, incident="f1.2013-02-11", since="2013-02-11")
    resolved = msgspec.structs.replace(FIRING, state="resolved", day="2013-02-10")
    for value in (encode(FIRING), b"not an alert", encode(resolved), None, encode(later), encode(later)):
        await log.producer().produce("demo.alerts", value, key=b"f1")

    assert newest_of(await _records(log, "demo.alerts")) == [resolved, later]


async def test_a_topic_that_is_not_there_has_no_incidents() -> None:
    """Nothing was ever judged: that is not a mistake of the caller."""
    assert await _records(InProcessLog(), "demo.alerts") == []


def test_a_verdict_holds_for_its_days_in_the_models_zone_and_is_stale_then() -> None:
    """03:00 in UTC is still the day before in New York."""
    health = HealthState(
        release="r", champion="offline", day="2013-02-08", verdict=Verdict.DRIFTING, n=900, psi=1.7, total_variation=0.5
    )
    found = ModelVerdict(health, 1_360_000_000_000, {})

    assert verdict_line(MODEL, found, datetime(2013, 2, 11, 3, tzinfo=UTC))["verdict"] == "drifting"
    assert verdict_line(MODEL, found, datetime(2013, 2, 11, 6, tzinfo=UTC))["verdict"] == "stale"
    assert verdict_line(MODEL, None, datetime(2013, 2, 11, tzinfo=UTC))["verdict"] == "insufficient data"
