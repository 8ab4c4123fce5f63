"""What an administration client that forgets, or learns late, does to those who ask it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo

from agents.transport import LogUnavailable, kafka_admin
from agents.transport.kafka_admin import KafkaAdmin
from agents.transport.kafka_settings import KafkaSettings
from streams.records import Partition

NOWHERE = "127.0.0.1:1"
PARTITION = Partition("orders", 0, "")
UNKNOWN = KafkaException(KafkaError(KafkaError._NOENT))
REFUSED = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


class Client:
    """Settles one question after the other as told; a question it is told nothing about is never settled."""

    def __init__(self, *told: int | KafkaException | None) -> None:
        self.told = list(told)
        self.asked = 0
        self.listed = 0

    def list_offsets(self, question: Mapping[TopicPartition, Any], **_: object) -> dict[TopicPartition, Future[Any]]:
        """Return one future per partition."""
        settled = self.told[min(self.asked, len(self.told) - 1)]
        self.asked += 1
        future: Future[Any] = Future()
        if isinstance(settled, KafkaException):
            future.set_exception(settled)
        elif settled is not None:
            future.set_result(ListOffsetsResultInfo(settled, 0, -1))
        return dict.fromkeys(question, future)

    def list_topics(self, **_: object) -> None:
        """Count how often all metadata was asked for."""
        self.listed += 1


def asking(monkeypatch: pytest.MonkeyPatch, client: Client, timeout_s: float = 5.0) -> KafkaAdmin:
    monkeypatch.setattr(kafka_admin, "_LOST_S", 0.02)
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda _: client)
    return KafkaAdmin(KafkaSettings(NOWHERE, {}), timeout_s)


async def test_an_answer_that_the_client_never_settles_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(None, 7)

    assert await asking(monkeypatch, client).ends([PARTITION]) == [7]
    assert client.asked == 2


async def test_a_client_that_never_settles_anything_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = asking(monkeypatch, Client(None), timeout_s=0.1)

    with pytest.raises(
        LogUnavailable, match=r"^cannot read the bounds of orders: .*expected an answer in 0 s, got none"
    ):
        await admin.ends([PARTITION])


async def test_topics_that_the_broker_learns_of_late_are_waited_for_longer_than_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client(UNKNOWN, UNKNOWN, UNKNOWN, 0)

    await asking(monkeypatch, client, timeout_s=0.0)._readable([PARTITION])

    assert (client.asked, client.listed) == (4, 4), "each time with metadata asked for anew"


async def test_a_refusal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(REFUSED, 0)

    with pytest.raises(LogUnavailable, match="got topic_authorization_failed"):
        await asking(monkeypatch, client)._readable([PARTITION])
    assert client.asked == 1
