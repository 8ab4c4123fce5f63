"""`agents.transport.kafka_settings`: what is the user's to set, and what is not."""

from __future__ import annotations

import pytest

from agents.transport import CommitPolicy, StartAt, Subscription
from agents.transport.kafka_settings import KafkaSettings
from definitions.errors import HeadraceError

SUBSCRIPTION = Subscription("g", ("t",), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)


def test_the_users_properties_reach_every_client() -> None:
    settings = KafkaSettings("a:1,b:2", {"security.protocol": "ssl", "linger.ms": "5"})
    for properties in (settings.of_admin(), settings.of_producer(), settings.of_tail("x")):
        assert properties["bootstrap.servers"] == "a:1,b:2"
        assert properties["security.protocol"] == "ssl"
    assert settings.of_producer()["linger.ms"] == "5"


@pytest.mark.parametrize("name", ["group.id", "enable.auto.commit", "acks", "partitioner", "auto.offset.reset"])
def test_what_decides_safety_is_refused(name: str) -> None:
    with pytest.raises(HeadraceError, match=f"cannot set kafka property: {name}: headrace sets it itself; remove it"):
        KafkaSettings("a:1", {name: "x"})


def test_an_unknown_group_protocol_is_refused() -> None:
    with pytest.raises(HeadraceError, match=r"group\.protocol: expected auto, consumer, classic, got 'eager'"):
        KafkaSettings("a:1", {"group.protocol": "eager"})


def test_each_group_protocol_gets_the_properties_it_allows() -> None:
    settings = KafkaSettings("a:1", {})
    assert settings.protocol == "auto"
    consumer, classic = (settings.of_member(SUBSCRIPTION, protocol) for protocol in ("consumer", "classic"))
    assert consumer["group.protocol"] == "consumer"
    assert "session.timeout.ms" not in consumer
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert consumer["group.id"] == classic["group.id"] == "g"


def test_no_client_commits_or_resets_by_itself_and_the_producer_is_safe() -> None:
    settings = KafkaSettings("a:1", {})
    for properties in (settings.of_tail("x"), settings.of_member(SUBSCRIPTION, "consumer")):
        assert properties["enable.auto.commit"] is False
        assert properties["auto.offset.reset"] == "error"
    producer = settings.of_producer()
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", True)
    assert producer["partitioner"] == "murmur2_random"


def test_replies_do_not_wait_for_each_other_and_fail_aloud() -> None:
    replier = KafkaSettings("a:1", {}).of_replier()
    assert (replier["acks"], replier["enable.idempotence"], replier["linger.ms"]) == ("1", False, 0)
    assert "max.in.flight.requests.per.connection" not in replier
