"""How librdkafka is set up: what decides safety and latency is ours, the rest (TLS, SASL, sizes) is the user's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from agents.transport import CommitPolicy, Subscription
from definitions.errors import HeadraceError

GROUP_PROTOCOL = "group.protocol"
PROTOCOLS = ("auto", "consumer", "classic")
"""``consumer`` is KIP-848; ``auto`` takes it where the broker's session timeout is short enough."""

SESSION_TARGET_MS = 10_000
"""The longest a dead member may keep its partitions."""

_SAID_EVERY_S = 10.0

_COMMON: Mapping[str, Any] = {
    # What a client library has to say comes by `errors_to_log`, one line at a time.
    "log_level": 2,
    "socket.nagle.disable": True,
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 1_000,
}
_ADMIN: Mapping[str, Any] = {
    # With the default of 30 s, a topic that was asked for before it existed is not found for as long (measured).
    "topic.metadata.propagation.max.ms": 0,
}
_PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "message.timeout.ms": 10_000,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 512 * 1024,
    "message.max.bytes": 2 * 1024 * 1024,
}
_REPLIER: Mapping[str, Any] = {
    **_PRODUCER,
    # An idempotent producer has five requests under way at most, and while there are five and more wait, the library's
    # thread spins: a quarter of what scoring took on processors that were full. A reply may come twice, in any order.
    "enable.idempotence": False,
    "acks": "1",
    "delivery.report.only.error": True,
}
_READER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.queue.backoff.ms": 1,
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 400_000,
    "allow.auto.create.topics": False,
}
_CLASSIC: Mapping[str, Any] = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
}
_CONSUMER: Mapping[str, Any] = {"group.protocol": "consumer"}
_MEMBER: Mapping[str, Any] = {
    # A member that waits for its store keeps its partitions; liveness is the heartbeat metric's business.
    "max.poll.interval.ms": 3_600_000,
}
_COMMIT_S: Mapping[CommitPolicy, float] = {CommitPolicy.ON_TAKE: 0.05, CommitPolicy.AFTER_DURABLE: 0.25}
_ENDS_S: Mapping[CommitPolicy, float] = {CommitPolicy.ON_TAKE: 1.0, CommitPolicy.AFTER_DURABLE: 0.1}
_TUNABLE = frozenset({"linger.ms", "message.max.bytes", "fetch.wait.max.ms", "queued.min.messages", "log_level"})

logger = logging.getLogger(__name__)


class Pace(NamedTuple):
    """How often a member does what need not be done at once; in seconds."""

    commit_s: float
    """How far apart hints are sent at least."""
    patience_s: float
    """How far apart batches are handed out at least: one of a single record costs nearly as much as one of twenty."""
    ends_s: float
    """How far apart ends of a partition are told at least."""


def pace_of(subscription: Subscription) -> Pace:
    """Return the pace of a subscription's members.

    Where durable rows say where to go on, the group's hint is only for those who look at it, and costs a write each.
    Whoever takes records to answer them has next to nothing to do at an end.
    """
    policy = subscription.policy
    return Pace(_COMMIT_S[policy], subscription.patience_ms / 1_000, _ENDS_S[policy])


class KafkaSettings:
    """The properties of every client of one `agents.transport.kafka.KafkaLog`.

    Args:
        bootstrap: ``host:port``, several with commas.
        properties: librdkafka properties of the user; those that decide safety are refused.

    Raises:
        HeadraceError: a property is ours.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, str]) -> None:
        owned = {"bootstrap.servers", "group.id", *_ADMIN, *_PRODUCER, "linger.ms", *_READER, *_CLASSIC, *_MEMBER}
        for name in sorted((owned - _TUNABLE - {GROUP_PROTOCOL}) & properties.keys()):
            raise HeadraceError(f"cannot set kafka property: {name}: headrace sets it itself; remove it")
        self.bootstrap = bootstrap
        self.protocol = properties.get(GROUP_PROTOCOL, "auto")
        if self.protocol not in PROTOCOLS:
            raise HeadraceError(
                f"cannot set kafka property: {GROUP_PROTOCOL}: expected {', '.join(PROTOCOLS)}, got {self.protocol!r}"
            )
        self._given = {name: value for name, value in properties.items() if name != GROUP_PROTOCOL}

    def of_admin(self) -> dict[str, Any]:
        """Return the properties of the administration client."""
        return self._merged(_ADMIN)

    def of_producer(self, linger_ms: int = 0) -> dict[str, Any]:
        """Return the properties of a producer whose records wait so long for company, where the user says nothing."""
        return self._merged({**_PRODUCER, "linger.ms": linger_ms})

    def of_replier(self) -> dict[str, Any]:
        """Return the properties of a producer of replies."""
        return self._merged({**_REPLIER, "linger.ms": 0})

    def of_tail(self, group: str) -> dict[str, Any]:
        """Return the properties of a reader that is in no group; ``group`` is only a name to the client library."""
        return self._merged({**_READER, "group.id": group})

    def of_member(self, subscription: Subscription, protocol: str) -> dict[str, Any]:
        """Return the properties of a group's member; ``protocol`` is ``consumer`` or ``classic``."""
        by_protocol = _CONSUMER if protocol == "consumer" else _CLASSIC
        return self._merged({**_READER, **_MEMBER, **by_protocol, "group.id": subscription.group})

    def _merged(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        common = {**_COMMON, "bootstrap.servers": self.bootstrap, "error_cb": errors_to_log()}
        return {**common, **ours, **self._given}


def errors_to_log() -> Callable[[KafkaError], None]:
    """Return a callback that logs what the client library reports, each kind at most every 10 s."""
    said: dict[str, float] = {}

    def say(error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  # said of each broker already
            return
        now_s = time.monotonic()
        if now_s - said.get(error.name(), -_SAID_EVERY_S) >= _SAID_EVERY_S:
            said[error.name()] = now_s
            logger.warning("kafka: %s: %s", error.name().lstrip("_").lower(), error.str())

    return say
