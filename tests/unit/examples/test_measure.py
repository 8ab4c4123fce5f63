"""What the demo says of the system is what the system's logs and rows say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from agents.transport.in_process import InProcessLog
from examples.flights.measure import Judged, Observer, Replies
from headrace.loading import load_app
from headrace.session import Session
from headrace.settings import Settings
from streams import topics
from streams.artefacts import ArtefactStore
from streams.messages import Alert, Example, ScoreReply, encode
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from streams.topics import declared


@pytest.fixture
async def session(tmp_path: Path) -> Session:
    app = load_app("examples.flights.app")
    log = InProcessLog()
    await log.create_topics(declared(app, "ns"))
    return Session(Settings(tmp_path), app, "ns", log, MemoryStore(), ArtefactStore(tmp_path / "artefacts"))


def example(session: Session, number: int, *, label: bool) -> Example:
    model = session.app.model("late")
    vector = [float(number) if each.type == "float" else None for each in model.inputs]
    scores = {"offline": number / 10, "online": 1 - number / 10}
    return Example(
        model=model.key,
        label_key=f"F{number}",
        at_ms=number,
        vector=list(vector),
        label=label,
        scores=scores,
        champion="offline",
        outcomes="t/0",
        next=number + 1,
        index=0,
    )


def alert(incident: str, state: str) -> Alert:
    return Alert(
        fingerprint="f",
        incident=incident,
        state=state,
        model="late.v1",
        release="r",
        signal="score:offline",
        day="2013-02-08",
        since="2013-02-08",
        n=900,
        psi=1.7,
        total_variation=0.5,
        message="",
    )


def test_a_request_without_any_reply_is_unanswered_and_one_expired_by_the_system_is_not() -> None:
    replies = Replies()
    replies.take(ScoreReply(request_id="t/0@1", status="ok"), 5.0)
    replies.take(ScoreReply(request_id="t/0@2", status="expired", reason="deadline"), 50.0)
    replies.take(ScoreReply(request_id="", status="expired", reason="deadline"), 1_000.0)
    assert dict(replies.statuses) == {"ok": 1, "expired": 2}
    assert replies.unanswered == 1
    assert replies.percentile_ms(50) == 50.0


def test_latencies_of_nothing_are_zero() -> None:
    assert Replies().percentile_ms(99) == 0.0


def test_the_best_single_feature_may_rank_downwards_and_missing_values_decide_nothing() -> None:
    nan = float("nan")
    judged = Judged(
        labels=[False, False, True, True],
        vectors=[[1.0, 4.0, nan], [1.0, 3.0, 2.0], [1.0, 2.0, 2.0], [1.0, 1.0, nan]],
    )
    assert judged.best_single(["constant", "falling", "sparse"]) == ("falling", 1.0)


def test_a_column_without_any_value_is_worth_nothing() -> None:
    judged = Judged(labels=[False, True], vectors=[[math.nan], [math.nan]])
    assert judged.best_single(["empty"]) == ("", 0.5)


async def test_examples_are_judged_as_they_come(session: Session) -> None:
    observer = await Observer.of(session, session.app.model("late"))
    topic, producer = topics.examples("ns", session.app.model("late")), session.log.producer()
    for number in range(4):
        await producer.produce(topic, encode(example(session, number, label=number >= 2)))
    await observer.look()
    assert (observer.judged.auc("offline"), observer.judged.auc("online")) == (1.0, 0.0)
    assert observer.judged.positives_ratio() == 0.5
    assert observer.judged.best_single(observer.number_names)[1] == 1.0
    await observer.look()
    assert len(observer.judged.labels) == 4
    await observer.close()


async def test_an_incident_counts_once_however_often_it_is_told(session: Session) -> None:
    observer = await Observer.of(session, session.app.model("late"))
    for told in (alert("a", "firing"), alert("a", "firing"), alert("a", "resolved"), alert("b", "firing")):
        await session.log.producer().produce(topics.alerts("ns"), encode(told))
    await observer.look()
    assert observer.incidents == ["a", "b"]
    await observer.close()


async def test_rows_are_summed_over_partitions(session: Session) -> None:
    observer = await Observer.of(session, session.app.model("late"))
    view = session.app.view("origin_departures")
    for place, partition in enumerate(await session.log.partitions("flights.departed")):
        session.store.create_row(RowKey("intake", partition), Row(next=10, first=0, applied=9, dead=1))
        session.store.create_row(RowKey(view.key, partition), Row(next=9 + place, first=0, applied=8 + place, dead=1))
    rows = observer.rows()
    assert (rows["intake"]["read"], rows["intake"]["dead"]) == (40, 4)
    assert (rows["origin_departures"]["applied"], rows["origin_departures"]["read"]) == (38, 42)
    assert rows["tail_arrivals"]["read"] == 0
    await observer.close()
