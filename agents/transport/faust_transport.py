"""Faust without its Kafka driver: its agents read whole record batches from a member of ours.

Faust is told once of a fixed, virtual assignment: one partition of each topic, under a constant generation id. What
this process really has moves below it, partition by partition, in the member; a batch carries its own assignment
number. So nothing of Faust's rebalances, offsets, acknowledgements, tables or commits is in use.

The private names of Faust that this relies on are listed in `PRIVATE_NAMES`, and a test looks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.transport.base import Transport
from faust.transport.consumer import Consumer
from faust.transport.producer import Producer
from faust.types import TP, ConsumerMessage
from mode import ServiceT

from agents.transport import Member
from streams.records import LOG_APPEND_TIME, RecordBatch

GENERATION = 1
POLL_S = 0.2
BATCHES_AHEAD = 2
"""How many batches may wait in Faust's own queue: the next one is there when the agent asks."""

PRIVATE_NAMES: Mapping[type, tuple[str, ...]] = {
    faust.App: ("_on_partitions_assigned", "_fetcher", "_leader_assignor", "_stop_consumer"),
    Consumer: (
        "_drain_messages",
        "_on_partitions_assigned",
        "_commit",
        "_seek",
        "_new_topicpartition",
        "_getmany",
        "_to_message",
    ),
    TableManager: ("_tables_finalized", "_tables_registered"),
}


class MemberConsumer(Consumer):
    """Hands every batch of the member to Faust's agents as one message; forwards nothing back.

    Overridden: `_drain_messages`, Faust's fetch loop, whose read-offset filter would drop rewound batches and whose
    scheduler takes batches apart; and what it asks of a broker, which the member knows better.
    """

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Tell Faust of the virtual assignment, once; the app then lets the batches flow."""
        self._virtual = {TP(topic, 0) for topic in topics}
        self.add_future(self._assign_once())

    async def _assign_once(self) -> None:
        self.app.consumer_generation_id = GENERATION
        await self._on_partitions_assigned(self._virtual, GENERATION)  # type: ignore[call-arg]  # its own call

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        transport = cast("MemberTransport", self.transport)
        member = transport.member
        try:
            while not (self.should_stop or fetcher.should_stop):
                batch = await member.poll(POLL_S)
                if batch is not None:
                    await self.callback(_message(batch))
        except Exception as error:  # noqa: BLE001  # carried to the host: Faust would only restart the fetcher
            transport.fail(error)

    def assignment(self) -> set[TP]:
        """Return the virtual assignment, none before there is one."""
        return getattr(self, "_virtual", set())

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:  # noqa: ARG002  # the member commits
        return True

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Return nothing: the member is where it has to be."""
        return {}

    async def _seek(self, partition: TP, offset: int) -> None: ...

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Do nothing, as above."""

    async def position(self, tp: TP) -> int | None:  # noqa: ARG002
        """Return None: positions are the runner's."""
        return None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return zeros: only Faust's tables would ask."""
        return dict.fromkeys(partitions, 0)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return zeros, as above."""
        return dict.fromkeys(partitions, 0)

    def highwater(self, tp: TP) -> int:  # noqa: ARG002
        """Return zero, as above."""
        return 0

    def topic_partitions(self, topic: str) -> int | None:  # noqa: ARG002
        """Return the one virtual partition of each topic."""
        return 1

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002
        """Return nothing: Faust sends nothing."""
        return partition

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: topics are created by the log."""

    def close(self) -> None:
        """Do nothing: the host stops the member."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        raise NotImplementedError

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise NotImplementedError


class WholeBatches(faust.Schema[Any, Any]):
    """Hands a batch over as it is. Faust's own way through serialisers costs as much as taking its requests does."""

    def compile(self, app: faust.App, **_: Any) -> Any:  # type: ignore[override]  # errors cannot happen
        """Return what makes an event of a message."""

        async def decode(message: ConsumerMessage, *, propagate: bool = False) -> Any:  # noqa: ARG001
            return app.create_event(None, message.value, {}, message)

        return decode


class NoProducer(Producer):
    """Faust's producer, never used: roles send by the log's own."""

    async def flush(self) -> None:
        """Do nothing: there is nothing under way."""


class NoTables(TableManager):
    """Faust's tables, none; all that is left is to let the batches flow once the assignment is told."""

    async def on_start(self) -> None:
        """Say at once that all tables are there."""
        self._tables_finalized.set()
        self._tables_registered.set()

    async def wait_until_recovery_completed(self) -> bool:
        """Return at once: there is nothing to recover."""
        return False

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Do nothing."""

    async def on_rebalance(
        self,
        assigned: set[TP],  # noqa: ARG002
        revoked: set[TP],  # noqa: ARG002
        newly_assigned: set[TP],  # noqa: ARG002
        generation_id: int = 0,  # noqa: ARG002
    ) -> None:
        """Let the batches flow."""
        self.app.consumer.resume_flow()
        self.app.flow_control.resume()
        await cast("faust.App", self.app)._fetcher.maybe_start()  # noqa: SLF001  # as Faust's own recovery does


class RoleBoot(BootStrategy):
    """What a role's app starts: no web server, no leader election, no reply consumer."""

    def server(self) -> Iterable[ServiceT]:
        """Return the services in the order in which they start."""
        app = self.app
        return cast("list[ServiceT]", [app.producer, app.consumer, app.agents, app.topics, app.tables])


class MemberTransport(Transport):
    """A Faust transport over one member."""

    Consumer = MemberConsumer
    Producer = NoProducer
    driver_version = "headrace"

    def __init__(self, app: faust.App, member: Member, failed: asyncio.Future[None]) -> None:
        super().__init__([], app, failed.get_loop())
        self.member = member
        self._failed = failed

    def fail(self, error: Exception) -> None:
        """Tell the host what the member raised."""
        if not self._failed.done():
            self._failed.set_exception(error)


class RoleApp(faust.App):
    """A Faust app that leaves no folder behind and starts only what `RoleBoot` says."""

    BootStrategy = RoleBoot

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Return what to start, without Faust's monitor: our metrics are the runner's, and it costs 20 us a batch."""
        return self.boot_strategy.server()

    async def on_first_start(self) -> None:
        """Do nothing: Faust would make a data folder in the working directory."""


def role_app(name: str, member: Member, failed: asyncio.Future[None]) -> RoleApp:
    """Return the Faust app of one role over its member, without agents yet; ``failed`` gets what the member raises."""
    app = RoleApp(
        name,
        TableManager=NoTables,
        broker="kafka://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_buffer_maxsize=BATCHES_AHEAD,
        stream_wait_empty=False,
    )
    app.transport = app.producer_transport = MemberTransport(app, member, failed)
    return app


def _message(batch: RecordBatch) -> ConsumerMessage:
    topic = batch.partition.topic
    return ConsumerMessage(
        topic=topic,
        partition=0,
        offset=batch.first,
        timestamp=0.0,
        timestamp_type=LOG_APPEND_TIME,
        headers=None,
        key=None,
        value=cast("bytes", batch),  # handed over as it is: `WholeBatches`
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=TP(topic, 0),
        generation_id=GENERATION,
    )
