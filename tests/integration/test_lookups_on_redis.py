"""Lookups and embeddings over a real Redis: the values of memory and of a replay, in two round trips."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.reading import FeatureReader
from streams.records import Partition
from streams.replay import PointInTime
from streams.store import Answer, Question
from streams.store.redis import RedisStore
from tests.records import batch_of, json_record
from tests.unit.agents.test_score import NOW_MS
from tests.unit.agents.test_score_rich_vectors import EVENTS, LATE
from tests.unit.streams import test_lookups as lookups

pytestmark = pytest.mark.redis


class CountedStore(RedisStore):
    """A Redis store that counts what it is asked."""

    asked = 0

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        self.asked += 1
        return super().read(question, timeout_ms=timeout_ms)


@pytest.fixture
def store(redis_url: str, unique: str) -> Iterator[CountedStore]:
    store = CountedStore(redis_url, unique)
    yield store
    store.close()


def test_what_is_looked_up_in_redis_is_what_a_replay_looks_up(store: CountedStore) -> None:
    questions = [
        lookups.asked(5),
        lookups.asked(5, tail="N9", via=None),
        lookups.asked(70),
        lookups.asked(6, tail="N2"),
    ]
    lookups.extended(store, lookups.EARLIER, lookups.MODEL.all_views)

    served = lookups.live(store, questions)

    assert store.asked == 2
    assert served == lookups.live(lookups.stored(lookups.EARLIER), questions)
    for each, question in zip(served, questions, strict=True):
        assert lookups.replaced_time(lookups.replayed(lookups.EARLIER, question), each) == each


def test_an_embedding_comes_back_from_redis_as_it_was_sent(store: CountedStore) -> None:
    view = LATE.views[0]
    event = view.sources[0].event
    batch = batch_of(Partition(event.topic, 0, "tid"), [json_record(n, each) for n, each in enumerate(EVENTS)])
    lookups.extended(store, [batch], [view], event=event)
    replay = PointInTime([view])
    replay.apply(batch)

    reader = FeatureReader([view])
    question = reader.question([{"origin": "JFK"}])
    served = reader.serve(question, store.read(question), 0, NOW_MS)

    assert repr(served.values["origin.state_1h"]) == "[1.0, 2.5, -0.0]"
    assert served.values == replay.serve({"origin": "JFK"}, NOW_MS).values
    assert served.ages_ms()["origin.idle"] == served.ages_ms()["origin.newest_1h"]
