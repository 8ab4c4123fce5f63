"""Folds the ticks of all models in log order into verdicts, and sends an alert where an incident opens or ends.

Cells of the fold ``evaluator``: ``model/<model key>`` holds the days that are not complete and the health of one model,
``@verdicts`` what is in force for all of them, for readers (`read_verdicts`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.transport import Assigned
from definitions.errors import HeadraceError
from online_models.baseline import Baseline, score_signal
from online_models.errors import ArtefactRefused
from online_models.health import DayCounts, HealthState, Rule, Verdict, advance, in_force, judge
from online_models.releases import Manifest, read_manifest
from streams import topics
from streams.chain import CELLS_A_LINK
from streams.messages import Alert, Tick, encode
from streams.records import Record, RecordBatch
from streams.store import OnlineStore, Question

FOLD = "evaluator"
VERDICTS = "@verdicts"

logger = logging.getLogger(__name__)


class OpenDay(msgspec.Struct):
    """Counts of one release on one day, and which partitions they have come from."""

    told_by: list[str] = []
    counts: dict[str, list[int]] = {}


class ModelState(msgspec.Struct, tag="model"):
    """What is remembered of one model."""

    closed: dict[str, str] = {}
    """Outcomes partition to the last day that it has told."""
    open: dict[str, dict[str, OpenDay]] = {}
    """Day to release to its counts."""
    health: HealthState | None = None


class Shift(msgspec.Struct, frozen=True):
    """How far one signal was from its baseline on the last complete day."""

    verdict: Verdict
    n: int
    psi: float
    total_variation: float


class ModelVerdict(msgspec.Struct, frozen=True):
    """What is in force for one model. ``told_ms`` is the broker's time of its last tick: its heartbeat."""

    health: HealthState
    told_ms: int
    shifts: dict[str, Shift]
    """Every signal, for display; only the champion's score opens incidents."""


class Verdicts(msgspec.Struct, tag="verdicts"):
    """What is in force for every model, by model key."""

    models: dict[str, ModelVerdict] = {}


EvaluatorState = ModelState | Verdicts | None

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER: msgspec.msgpack.Decoder[EvaluatorState] = msgspec.msgpack.Decoder(ModelState | Verdicts | None)


class EvaluatorCodec:
    """Implements `streams.chain.StateCodec` for the evaluator's cells."""

    def empty(self) -> EvaluatorState:
        """Return the state of a cell that is not there."""
        return None

    def encode(self, state: EvaluatorState) -> bytes | None:
        """Return the state's bytes."""
        return None if state is None else _ENCODER.encode(state)

    def decode(self, data: bytes) -> EvaluatorState:
        """Return the state that the bytes were made from."""
        return _DECODER.decode(data)


class TickEvaluator:
    """Follows the one partition of the ticks topic.

    A day is judged when every outcomes partition has told it; a tick that was sent twice counts once. Alerts are
    acknowledged before the row advances, and are the same when they are sent again: the last one of a key is in force.
    """

    def __init__(self, context: RoleContext, given: Assigned, rule: Rule | None = None) -> None:
        self._context = context
        self._rule = rule or Rule()
        self._partition = given.partition
        self._decoder = msgspec.json.Decoder(Tick)
        self._rows: FoldWriter[EvaluatorState] = FoldWriter(context, FOLD, given, EvaluatorCodec())
        self._releases: dict[str, tuple[Manifest, Baseline]] = {}

    @property
    def position(self) -> int:
        """Offset of the first tick that is not judged."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Fold the batch's ticks; send what changed."""
        alerts: list[Alert] = []
        changed: set[str] = set()
        for record in batch.records:
            tick = self._decoded(record)
            if tick is None:
                self._rows.note("dead")
                continue
            alerts += self._take(tick, record)
            changed |= {_cell(tick.model), VERDICTS}
            if len(changed) >= CELLS_A_LINK - 1:
                await self._commit(record.offset() + 1, alerts, changed)
        await self._commit(batch.next, alerts, changed)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is judged."""
        self._rows.reached_end(broker_ms)

    async def _commit(self, after: int, alerts: list[Alert], changed: set[str]) -> None:
        producer, topic = self._context.log.producer(), topics.alerts(self._context.namespace)
        for alert in alerts:
            await producer.produce(topic, encode(alert), key=alert.fingerprint.encode())
        self._rows.commit(after, changed)
        for alert in alerts:
            self._context.metrics.count("alerts_total", model=alert.model, state=alert.state)
            logger.warning("%s: %s", alert.state, alert.message)
        alerts.clear()
        changed.clear()

    def _take(self, tick: Tick, record: Record) -> list[Alert]:
        """Add one tick; return the alerts of the days that it completes."""
        self._rows.took(record)
        slot = self._rows.chain.load((_cell(tick.model),))[_cell(tick.model)]
        state = slot.state if isinstance(slot.state, ModelState) else ModelState()
        slot.state = state
        is_news = _fold_tick(state, tick)
        self._rows.note("applied" if is_news else "duplicate")
        alerts: list[Alert] = []
        for day, release, counts in list(_complete(state, tick.partitions)):
            alerts += self._judged(state, DayCounts(tick.model, release, "", day, counts), record)
        self._heard(tick.model, record)
        return alerts

    def _judged(self, state: ModelState, day: DayCounts, record: Record) -> list[Alert]:
        try:
            manifest, baseline = self._release(day.release)
        except HeadraceError as error:
            logger.warning("not judged: %s on %s: %s", day.model, day.day, error)
            return []
        sizes = {signal: bins.size for signal, bins in baseline.signals.items()}
        counts = {signal: each for signal, each in day.counts.items() if sizes.get(signal) == len(each)}
        day = DayCounts(day.model, day.release, manifest.champion, day.day, counts)
        before = state.health
        state.health, found = advance(before, day, baseline, self._rule)
        if state.health is not before:
            self._show(state.health, day, baseline, record)
        return [Alert(**asdict(each)) for each in found]

    def _show(self, health: HealthState, day: DayCounts, baseline: Baseline, record: Record) -> None:
        shifts = {}
        for signal, bins in baseline.signals.items():
            judged = judge(bins.counts, day.counts.get(signal, [0] * bins.size), self._rule)
            shifts[signal] = Shift(judged.verdict, judged.n, judged.psi, judged.total_variation)
            self._context.metrics.set("drift_psi", judged.psi, model=day.model, signal=signal)
            for verdict in Verdict:
                is_it = float(verdict is judged.verdict)
                self._context.metrics.set("drift_verdict", is_it, model=day.model, signal=signal, verdict=verdict)
        self._verdicts().models[day.model] = ModelVerdict(health, record.timestamp()[1], shifts)

    def _heard(self, model: str, record: Record) -> None:
        models = self._verdicts().models
        if model in models:
            models[model] = msgspec.structs.replace(models[model], told_ms=record.timestamp()[1])

    def _verdicts(self) -> Verdicts:
        slot = self._rows.chain.load((VERDICTS,))[VERDICTS]
        if not isinstance(slot.state, Verdicts):
            slot.state = Verdicts()
        return slot.state

    def _release(self, digest: str) -> tuple[Manifest, Baseline]:
        if digest not in self._releases:
            fetch = self._context.artefacts.get
            manifest = read_manifest(digest, fetch)
            baseline = Baseline.from_json(fetch(manifest.baseline))
            if score_signal(manifest.champion) not in baseline.signals:
                raise ArtefactRefused(
                    f"cannot judge: release {digest[:12]}: no baseline of {manifest.champion}'s scores"
                )
            self._releases[digest] = (manifest, baseline)
        return self._releases[digest]

    def _decoded(self, record: Record) -> Tick | None:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("skipped a tick: %s@%d: %s", self._partition.topic, record.offset(), error)
            return None


def read_verdicts(store: OnlineStore) -> dict[str, ModelVerdict]:
    """Return what is in force for every model that was judged, by model key. For scoreboards and the console.

    Whether it still speaks for today: `verdict_on`.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(FOLD, VERDICTS)])).cells
    models: dict[str, ModelVerdict] = {}
    for cell in cells.values():
        state = _DECODER.decode(cell.state)
        models |= state.models if isinstance(state, Verdicts) else {}
    return models


def verdict_on(found: ModelVerdict | None, today: str) -> Verdict:
    """Return the verdict that holds on an event-time day (ISO, in the model's zone): a too old one is stale."""
    return in_force(None if found is None else found.health, today, Rule())


def _cell(model_key: str) -> str:
    return f"model/{model_key}"


def _fold_tick(state: ModelState, tick: Tick) -> bool:
    """Add a tick to what is known; return whether it was new. One without a release says that its day is told."""
    topic = tick.outcomes.rpartition("/")[0]
    # Partitions of a topic that was made anew replace the old ones.
    state.closed = {name: day for name, day in state.closed.items() if name.rpartition("/")[0] == topic}
    if tick.day <= state.closed.get(tick.outcomes, ""):
        return False
    if not tick.release:
        state.closed[tick.outcomes] = tick.day
        return True
    day = state.open.setdefault(tick.day, {}).setdefault(tick.release, OpenDay())
    is_other_size = any(len(day.counts.get(signal, counts)) != len(counts) for signal, counts in tick.counts.items())
    if tick.outcomes in day.told_by or is_other_size:
        return False
    day.told_by = sorted([*day.told_by, tick.outcomes])
    for signal, counts in tick.counts.items():
        held = day.counts.get(signal, [0] * len(counts))
        day.counts[signal] = [mine + theirs for mine, theirs in zip(held, counts, strict=True)]
    return True


def _complete(state: ModelState, partitions: int) -> Iterator[tuple[str, str, dict[str, list[int]]]]:
    """Take out the days that every partition has told, in order; the release in force first."""
    if len(state.closed) < partitions:
        return
    told = min(state.closed.values())
    in_force_now = "" if state.health is None else state.health.release
    for day in sorted(each for each in state.open if each <= told):
        releases = state.open.pop(day)
        for release in sorted(releases, key=lambda each: (each != in_force_now, each)):
            yield day, release, releases[release].counts
