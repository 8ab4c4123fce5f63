"""Dead letters on a real Kafka: byte for byte, waiting for a topic that takes them, and what people do about them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.handle_dead_letters import Case, DeadLetterDesk
from agents.host import host
from agents.metrics import Metrics
from agents.serve_health import paused_check
from agents.transport.kafka import KafkaLog
from definitions.declared import AppDefinition, EventDefinition
from streams import topics
from streams.artefacts import ArtefactStore
from streams.messages import encode
from streams.partitioning import partition_of
from streams.store.memory import MemoryStore
from streams.topics import TopicConfig
from tests.apps.project import AT_MS, Project, departed, write_project
from tests.builders import event_definition, view_definition
from tests.hazards import hazards
from tests.learning import prediction

pytestmark = pytest.mark.kafka

DEADLINE_S = 180.0


class World:
    """A features role on a real Kafka, with its store in memory."""

    def __init__(self, log: KafkaLog, name: str, folder: Path) -> None:
        self.event: EventDefinition = event_definition(topic=f"{name}.departed")
        self.app = AppDefinition(name, (self.event,), (view_definition(on=self.event),), ())
        self.log, self.name = log, name
        self.metrics = Metrics(name)
        self.context = RoleContext(name, log, MemoryStore(), ArtefactStore(folder), self.metrics)
        self.letters = topics.dead_letters(name, self.event.topic)

    def topics(self) -> list[TopicConfig]:
        """Return what the app needs, with one partition each."""
        return [replace(each, partitions=1) for each in topics.declared(self.app, self.name)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Host the role for as long as the block lasts."""
        stop = asyncio.Event()
        hosted = asyncio.ensure_future(
            host(self.log, FeaturesRole(self.app, self.context), stop=stop, metrics=self.metrics)
        )
        try:
            yield
        finally:
            stop.set()
            await hosted

    def read(self) -> float:
        """Return how many records the intake has read."""
        labels = {"namespace": self.name, "fold": "intake", "topic": self.event.topic, "partition": "0"}
        value = self.metrics.registry.get_sample_value
        return sum(value("headrace_row_records", labels | {"tally": tally}) or 0 for tally in ("applied", "dead"))

    def paused(self) -> str:
        """Return what /readyz says of paused partitions, empty where there are none."""
        return paused_check(self.metrics.registry, self.name, "features")() or ""

    async def cases(self) -> list[Case]:
        """Return the dead letters."""
        return await DeadLetterDesk(self.log, self.event.topic, self.letters, self.context.artefacts).cases()

    async def publish(self, *values: bytes | None) -> None:
        """Publish values as they are."""
        for value in values:
            await self.log.producer().produce(self.event.topic, value, key=b"k", headers=[("binary", b"\xff\xfe")])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    until_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.02)


@pytest.fixture
async def world(kafka: str, unique: str, tmp_path: Path) -> AsyncIterator[World]:
    log = KafkaLog(kafka)
    world = World(log, unique, tmp_path)
    await log.create_topics(world.topics())
    yield world
    await log.close()


async def test_every_hazard_is_taken_or_lies_byte_for_byte_in_the_dead_letters(world: World) -> None:
    given = hazards("v1")
    await world.publish(*(each.value for each in given))
    async with world.running():
        await until(lambda: world.read() == len(given))

    found = {case.letter.offset: case.letter for case in await world.cases()}
    for offset, hazard in enumerate(given):
        letter = found.pop(offset, None)
        if hazard.outcome == "ok":
            assert letter is None, hazard.name
        else:
            assert letter is not None, hazard.name
            assert (letter.value, letter.key, letter.reason, letter.path) == (
                hazard.value, b"k", hazard.outcome, hazard.path
            )  # fmt: skip
            assert letter.headers == [("binary", b"\xff\xfe")]
    assert found == {}


async def test_a_dead_letter_topic_that_was_deleted_is_waited_for(world: World, kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([world.letters])[world.letters].result(DEADLINE_S)
    await world.publish(b"{oops")
    async with world.running():
        await until(lambda: "dead_letters" in world.paused())
        assert world.read() == 0
        await world.log.create_topics(world.topics())
        await until(lambda: world.read() == 1)
        await until(lambda: not world.paused())
    assert [case.letter.value for case in await world.cases()] == [b"{oops"]


async def test_a_dead_letter_topic_that_is_too_small_is_waited_for(world: World, kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})

    def room(size: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, world.letters, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(DEADLINE_S)

    room(2_000)
    large = b"x" * 10_000
    await world.publish(b"{oops", large)
    async with world.running():
        await until(lambda: "dead_letters" in world.paused())
        assert world.read() == 0
        room(1_000_000)
        await until(lambda: world.read() == 2)
    assert [case.letter.value for case in await world.cases()] == [b"{oops", large]


async def test_a_partition_of_poison_stands_still_while_the_others_go_on(world: World) -> None:
    await world.publish(*[b"{oops"] * 400)
    async with world.running():
        await until(lambda: "poison" in world.paused())
        assert world.read() == 99
    assert len(await world.cases()) == 99


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    """Return a project with a log and a store."""
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


def answer(project: Project, *arguments: str, code: int = 0) -> dict[str, object]:
    said = project.command(*arguments, "--json")
    assert said.returncode == code, said.stdout + said.stderr
    found: dict[str, object] = json.loads(said.stdout)
    return found


@pytest.mark.redis
def test_people_list_show_replay_and_discard_letters(project: Project, tmp_path: Path) -> None:
    topic = f"{project.name}.departed"
    mended = tmp_path / "mended.json"
    mended.write_bytes(departed(1))
    with project.running("features"):
        project.send(topic, departed(1, delay_min="seven"), b"{oops", partition=0)
        project.until(lambda: project.metric("features", "row_records", fold="intake") == 2)
        [group, _] = answer(project, "dlq", "list")["groups"]  # type: ignore[misc]
        assert (group["topic"], group["reason"], group["count"], group["state"]) == (topic, "bad_json", 1, "open")
        shown = answer(project, "dlq", "show", topic, "0/1")
        assert (shown["text"], shown["hex"], shown["path"]) == ("{oops", "7b 6f 6f 70 73", "$")

        refused = answer(project, "dlq", "replay", topic, "--all", code=1)
        assert (refused["replayed"], len(refused["still_dead"])) == (0, 2)  # type: ignore[arg-type]
        assert answer(project, "dlq", "replay", topic, "0/0", "--with", str(mended))["replayed"] == 1
        assert answer(project, "dlq", "discard", topic, "0/1", "--because", "cut short")["discarded"] == 1
        project.until(lambda: project.metric("features", "row_records", fold="intake") == 3)
        assert answer(project, "dlq", "list")["groups"] == []
        assert len(answer(project, "dlq", "list", topic, "--all")["letters"]) == 2  # type: ignore[arg-type]
        assert project.features("JFK")["values"]["flights_1h"] == 1
        project.audit()


@pytest.mark.redis
def test_letters_of_outcomes_and_examples_are_handled_where_those_of_events_are(
    project: Project, tmp_path: Path
) -> None:
    """A prediction that was cut short is mended and counts once; an example cannot be put back, and is told why."""
    asked = encode(prediction(project.model, 1, "F1", AT_MS))
    outcomes, examples = topics.outcomes(project.name, project.model), topics.examples(project.name, project.model)
    (tmp_path / "mended.json").write_bytes(asked)
    with project.running("features", "learning"):
        home = {"key": b"F1", "partition": partition_of(b"F1", 2)}
        project.send(outcomes, asked[:-9], **home)
        project.send(examples, b"no example", partition=0)
        project.until(lambda: len(answer(project, "dlq", "list")["groups"]) == 2)  # type: ignore[arg-type]
        found = {each["topic"]: each for each in answer(project, "dlq", "list")["groups"]}  # type: ignore[attr-defined]
        assert {topic: (each["reason"], each["count"]) for topic, each in found.items()} == {
            outcomes: ("bad_json", 1), examples: ("unreadable", 1)
        }  # fmt: skip

        assert answer(project, "dlq", "replay", outcomes, "--all", code=1)["replayed"] == 0
        place = answer(project, "dlq", "list", outcomes)["letters"][0]["letter"]  # type: ignore[index]
        mended = ("dlq", "replay", outcomes, place, "--with", str(tmp_path / "mended.json"))
        assert answer(project, *mended)["replayed"] == 1
        assert answer(project, "dlq", "replay", outcomes, "--all")["replayed"] == 0

        shown = answer(project, "dlq", "show", examples, "0/0/online")
        assert (shown["text"], shown["stage"], shown["learner"]) == ("no example", "learn", "online")
        refused = project.command("dlq", "replay", examples, "--all")
        assert refused.returncode == 2
        assert "headrace models rollback late LEARNER --to DIGEST --relearn" in refused.stderr
        assert answer(project, "dlq", "discard", examples, "0/0/online", "--because", "a test")["discarded"] == 1
        assert answer(project, "dlq", "list")["groups"] == []

        project.send(f"{project.name}.arrived", arrived("F1"), key=b"F1")
        project.until(lambda: len(project.records(examples)) == 2)
        pending = answer(project, "models", "pending", "late")
        assert (pending["predictions"], pending["matched"], pending["reconciles"]) == (1, 1, True)
    project.audit()


def arrived(flight: str) -> bytes:
    return json.dumps({"flight_id": flight, "delay_min": 30.0, "arrived_at": AT_MS + 3_600_000}).encode()


@pytest.mark.redis
def test_lost_records_are_accepted_and_a_recreated_topic_is_restarted(project: Project, kafka: str) -> None:
    topic, admin = f"{project.name}.departed", AdminClient({"bootstrap.servers": kafka})
    with project.running("features"):
        project.send(topic, departed(1), departed(2), partition=0)
        project.until(lambda: project.metric("features", "row_records", fold="intake") == 2)
    project.send(topic, *(departed(number) for number in range(3, 8)), partition=0)
    place = TopicPartition(topic, 0, 5)
    admin.delete_records([place])[place].result(DEADLINE_S)

    with project.running("features"):
        project.until(lambda: project.metric("features", "partition_paused", topic=topic, reason="log_start") == 1)
        assert answer(project, "repair", topic, code=1)["faults"][0]["reason"] == "log_start"  # type: ignore[index]
        assert answer(project, "repair", topic, "0", "--accept-loss")["lost"] == 3
        project.until(lambda: project.metric("features", "row_records", fold="intake", tally="applied") == 4)
        assert project.metric("features", "row_records", fold="intake", tally="lost") == 3
        assert project.metric("features", "partition_paused", topic=topic) == 0
        audit = project.command("audit", "--json")
        assert (audit.returncode, json.loads(audit.stdout)["lost"]) == (1, 3)

    admin.delete_topics([topic])[topic].result(DEADLINE_S)
    project.until(lambda: topic not in admin.list_topics(timeout=60).topics)
    with project.running("features"):
        project.until(lambda: project.metric("features", "partition_paused", topic=topic, reason="recreated") == 2)
        assert project.command("repair", topic, "--accept-loss").returncode == 1
        answer(project, "repair", topic, "--restart")
        project.send(topic, departed(1), partition=0)
        project.until(lambda: project.metric("features", "row_next_offset", fold="intake", topic=topic) == 1)
        assert project.features("JFK")["values"]["flights_1h"] == 1
        assert project.audit()["lost"] == 0
