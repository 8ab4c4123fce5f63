"""A partition that may not be read on stands still alone, says the command, and goes on when it was given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.dead_letters import DeadLetters
from agents.featurize import FeaturesRole
from agents.handle_dead_letters import DeadLetterDesk
from agents.repair_topic import Examined, examine, repair
from agents.runner import Runner
from agents.serve_health import paused_check
from agents.transport import LogUnavailable
from batch.audit_log import audit_log
from definitions.errors import HeadraceError
from headrace.history import InProcessHistory
from streams import sources, topics
from streams.intake import FOLD
from streams.repairs import ACCEPT_LOSS, RESTART
from streams.store import RowKey
from streams.store.memory import MemoryStore
from streams.topics import TopicConfig
from tests.unit.agents.test_featurize import APP, EVENT, TOPIC, VIEW, World, departed

DLQ = topics.dead_letters("ns", TOPIC)


class Stage(World):
    """A world whose role never really sleeps."""

    async def start(self) -> None:
        """Join the group."""
        self.role = FeaturesRole(APP, self.context)
        self.member = self.log.member(self.role.subscription())

        async def pause(seconds: float) -> None:
            del seconds
            await asyncio.sleep(0)

        self.runner = Runner(self.member, self.role, self.metrics, pause=pause)
        await self.member.start(self.runner)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until the condition holds."""
        for _ in range(2_000):
            batch = await self.member.poll(0)
            if batch is not None:
                await self.runner.take(batch)
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"it never held; paused: {self.paused()}")

    async def end(self) -> None:
        """Leave the group."""
        self.runner.end()
        await self.member.stop(1.0)

    def paused(self) -> str | None:
        """Return what /readyz says."""
        return paused_check(self.metrics.registry, "ns", "features")()

    def reason(self) -> str:
        """Return why the partition stands still, empty where it does not."""
        said = self.paused()
        return "" if said is None else said.partition(";")[0].rpartition(" ")[2]

    async def examined(self) -> Examined:
        """Return what `headrace repair` finds."""
        return await examine(APP, EVENT, self.log, self.store)

    async def repaired(self, way: str) -> int:
        """Repair as the command does."""
        return await repair(await self.examined(), way, self.log, self.store)

    async def audited(self) -> tuple[int, int, list[str]]:
        """Return what `headrace audit` finds: lost, counted twice, problems."""
        history = await InProcessHistory.of(self.log, [TOPIC])
        found = audit_log(APP, history, self.store)
        return found.lost, found.counted_twice, found.problems


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    await stage.begin()
    return stage


async def test_a_partition_full_of_poison_stands_still_and_is_resumed_by_command(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.publish(departed(), *[b"{oops"] * 150, departed(1))
    await stage.start()
    with caplog.at_level(logging.ERROR):
        await stage.until(lambda: stage.reason() == "poison")
        await stage.until(lambda: len(stage.runner._looking) == 1)

    assert stage.row(FOLD).next == stage.row(VIEW.key).next == 99
    assert len(await stage.records(DLQ)) == 98
    assert caplog.text.count(f"run `headrace dlq resume {TOPIC} 0`") == 1

    sources.accept_poison(stage.store, stage.partition, 152)
    await stage.until(lambda: stage.row(FOLD).next == 152)
    await stage.end()

    assert (stage.paused(), stage.row(FOLD).dead, stage.row(VIEW.key).applied) == (None, 150, 2)
    assert len(await stage.records(DLQ)) == 150
    assert await stage.audited() == (0, 0, [])


async def test_a_dead_letter_topic_that_is_gone_lets_the_partition_wait_and_nothing_is_skipped(stage: Stage) -> None:
    stage.log.delete_topic(DLQ)
    await stage.publish(departed(), b"{oops", departed(1))
    await stage.start()
    await stage.until(lambda: stage.reason() == "dead_letters")
    assert stage.row(FOLD).next == stage.row(VIEW.key).next == 0

    await stage.log.create_topics([TopicConfig(DLQ, partitions=1)])
    await stage.until(lambda: stage.row(FOLD).next == 3)
    await stage.end()

    assert stage.paused() is None
    assert [each.value() for each in await stage.records(DLQ)] == [b"{oops"]
    assert await stage.audited() == (0, 0, [])


async def test_records_that_are_gone_are_counted_as_lost_when_that_is_accepted(stage: Stage) -> None:
    await stage.publish(departed(), departed(1))
    await stage.run()
    await stage.publish(*[departed(2)] * 5)
    stage.log.forget(stage.partition, 4)
    await stage.start()
    await stage.until(lambda: stage.reason() == "log_start")

    assert await stage.repaired(ACCEPT_LOSS) == 2
    await stage.until(lambda: stage.row(VIEW.key).next == 7)
    await stage.end()

    assert (stage.row(VIEW.key).applied, stage.row(VIEW.key).lost, stage.row(FOLD).lost) == (5, 2, 2)
    labels = {"namespace": "ns", "fold": VIEW.key, "topic": TOPIC, "partition": "0", "tally": "lost"}
    assert stage.metrics.registry.get_sample_value("headrace_row_records", labels) == 2
    lost, twice, problems = await stage.audited()
    assert (lost, twice) == (4, 0)  # two in each of two views
    assert any("2 records lost, accepted by `headrace repair`" in line for line in problems)


async def test_retention_that_overtakes_a_running_role_is_noticed(stage: Stage) -> None:
    await stage.publish(departed())
    await stage.start()
    await stage.until(lambda: stage.row(FOLD).next == 1)
    await stage.publish(*[departed(2)] * 5)
    stage.log.forget(stage.partition, 4)

    await stage.until(lambda: stage.reason() == "log_start")
    await stage.repaired(ACCEPT_LOSS)
    await stage.until(lambda: stage.row(FOLD).next == 6)
    await stage.end()
    assert (stage.row(FOLD).applied, stage.row(FOLD).lost) == (3, 3)


@pytest.mark.parametrize("what", ["log_start", "log_end", "no_rows", "recreated"])
async def test_a_restart_gives_the_state_up_and_reads_what_the_log_has(stage: Stage, what: str) -> None:
    await stage.publish(departed(), b"{oops", departed(1))
    await stage.run()
    lost = await go_wrong(stage, what)
    await stage.start()
    await stage.until(lambda: stage.reason() == what)
    if what != "log_start":
        with pytest.raises(HeadraceError, match="cannot repair by --accept-loss"):
            await stage.repaired(ACCEPT_LOSS)

    assert await stage.repaired(RESTART) == lost
    assert (await stage.examined()).faults == []
    [end] = await stage.log.ends([stage.partition])
    await stage.until(lambda: stage.row(VIEW.key).next == end)
    await stage.end()

    assert stage.paused() is None
    found_lost, twice, problems = await stage.audited()
    assert (found_lost, twice) == (2 * lost, 0)
    assert all("accepted by `headrace repair`" in line for line in problems)
    assert set(stage.store._rows[VIEW.key]) == {stage.partition.field}
    assert all(set(cells) == {stage.partition.field} for cells in stage.store._cells[VIEW.key].values())


async def go_wrong(stage: Stage, what: str) -> int:
    """Let something happen to the log or the store; return how many records that loses."""
    if what == "no_rows":
        stage.store = MemoryStore()
        stage.context = replace(stage.context, store=stage.store)
        return 0
    if what == "log_start":
        await stage.publish(*[departed(2)] * 3)
        stage.log.forget(stage.partition, 5)
        return 5
    if what == "log_end":
        stage.log.kept(stage.partition).records.pop()
        return 0
    stage.log.delete_topic(TOPIC)
    await stage.log.create_topics([TopicConfig(TOPIC, partitions=1)])
    [stage.partition] = await stage.log.partitions(TOPIC)
    await stage.publish(departed(3))
    return 0


async def test_a_compacted_source_is_refused_until_it_keeps_its_events(stage: Stage) -> None:
    stage.log._policies[TOPIC] = "compact"
    await stage.publish(departed())
    await stage.start()
    await stage.until(lambda: stage.reason() == "compacted")

    assert await stage.repaired(ACCEPT_LOSS) == 0
    await stage.until(lambda: stage.row(FOLD).next == 1)
    await stage.end()
    assert await stage.log.cleanup_policy(TOPIC) == "delete"


async def test_partitions_that_were_added_wait_for_a_word(stage: Stage) -> None:
    await stage.publish(departed())
    await stage.run()
    sources.replace_source(stage.store, TOPIC, stage.partition.topic_id, 1)
    from agents.transport.in_process_partitions import KeptPartition  # noqa: PLC0415  # as `kafka-topics --alter` does
    from streams.records import Partition  # noqa: PLC0415

    added = Partition(TOPIC, 1, stage.partition.topic_id)
    stage.log._topics[TOPIC].append(KeptPartition(added))
    await stage.publish(departed(1))
    await stage.start()
    await stage.until(lambda: stage.reason() == "partitions")
    assert stage.store.read_rows([RowKey(FOLD, added)]) == [None]

    await stage.repaired(ACCEPT_LOSS)
    await stage.until(lambda: stage.paused() is None and stage.store.read_rows([RowKey(FOLD, added)]) != [None])
    await stage.end()


async def test_a_restart_that_was_cut_short_is_refused_until_it_is_done_again(stage: Stage) -> None:
    await stage.publish(departed())
    await stage.run()
    sources.replace_source(stage.store, TOPIC, stage.partition.topic_id, sources.RESTARTING)
    await stage.start()
    await stage.until(lambda: stage.reason() == "restarting")
    await stage.repaired(RESTART)
    await stage.until(lambda: stage.paused() is None)
    await stage.end()
    assert await stage.audited() == (0, 0, [])


def desk(stage: Stage) -> DeadLetterDesk:
    return DeadLetterDesk(stage.log, TOPIC, DLQ, stage.context.artefacts)


async def test_a_letter_is_replayed_once_and_dead_again_it_is_a_new_letter_that_counts(stage: Stage) -> None:
    await stage.publish(departed(), b"{oops")
    await stage.run()
    [case] = await desk(stage).cases()
    assert (case.state, case.letter.attempts, case.letter.key, case.letter.headers) == (
        "open", 1, b"UA1", [("trace", b"t")]
    )  # fmt: skip

    [mark] = await desk(stage).replay([case], lambda _, original: original)
    assert (mark.state, mark.offset) == ("replayed", 2)
    assert await desk(stage).replay(await desk(stage).cases(), lambda _, original: original) == []
    await stage.run()

    first, second = await desk(stage).cases()
    assert (first.state, second.state, second.letter.attempts) == ("replayed", "open", 2)
    assert (second.letter.origin, second.letter.value) == (first.letter.id, b"{oops")
    assert stage.row(FOLD).read == 3
    assert await stage.audited() == (0, 0, [])


async def test_a_replay_that_was_cut_short_is_found_and_not_published_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.publish(b"{oops")
    await stage.run()
    cut = desk(stage)
    cases, whole = await cut.cases(), cut._mark

    async def no_end(marks: list[object]) -> None:
        if [mark for mark in marks if mark.state == "replayed"]:  # type: ignore[attr-defined]
            raise LogUnavailable("cannot send: cut short")
        await whole(marks)  # type: ignore[arg-type]

    monkeypatch.setattr(cut, "_mark", no_end)
    with pytest.raises(LogUnavailable):
        await cut.replay(cases, lambda _, original: original)
    [case] = await desk(stage).cases()
    assert case.state == "replaying"

    [mark] = await desk(stage).replay([case], lambda _, original: original)
    assert mark.offset == 1
    assert len(await stage.records(TOPIC)) == 2


async def test_of_two_who_replay_at_once_one_does(stage: Stage) -> None:
    await stage.publish(b"{oops")
    await stage.run()
    cases = await desk(stage).cases()
    both = await asyncio.gather(*(desk(stage).replay(cases, lambda _, original: original) for _ in range(2)))
    assert sorted(map(len, both)) == [0, 1]
    assert len(await stage.records(TOPIC)) == 2


async def test_a_letter_that_was_discarded_is_not_replayed(stage: Stage) -> None:
    await stage.publish(b"{oops")
    await stage.run()
    await desk(stage).discard(await desk(stage).cases(), "a test of the producer")
    [case] = await desk(stage).cases()
    assert case.mark is not None
    assert (case.state, case.mark.why) == ("discarded", "a test of the producer")
    assert await desk(stage).replay([case], lambda _, original: original) == []


async def test_letters_that_were_taken_are_not_sent_again_with_the_one_that_was_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.publish(b"{oops", b"{again")
    refused = [b"{again"]
    whole = DeadLetters._send

    async def refuse() -> int:
        raise LogUnavailable("cannot send: too large")

    def send(self: DeadLetters, *given: Any) -> object:
        return refuse() if given[-1].value() in refused else whole(self, *given)

    monkeypatch.setattr(DeadLetters, "_send", send)
    await stage.start()
    await stage.until(lambda: stage.reason() == "dead_letters")
    refused.clear()
    await stage.until(lambda: stage.row(FOLD).next == 2)
    await stage.end()
    assert sorted(each.value() or b"" for each in await stage.records(DLQ)) == [b"{again", b"{oops"]
