"""The proof that training and serving see the same: every vector that was served, had again from the log, bit for bit.

Two comparisons. *Exact*: the log is replayed to precisely the positions that an answer said it contained; a difference
is ``version`` where another definition was served than the one at hand, else ``fault``. *Hindsight*: the same question
as the log can answer it now; a difference is no fault, and is ``late`` where a record of the question's past was
appended behind those positions, else ``duplicate``: without late records, only an id that counts twice is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from batch.context import Tell, tell_nobody
from batch.look_back import Reach
from batch.parity import Label, Mismatch, Parity, Skip
from batch.read_predictions import Probe, Unread
from batch.replay_exactly import LogReplay, Shot, SourceReplay
from definitions.declared import ModelDefinition
from definitions.values import Value
from streams.cells import CellState
from streams.entities import asked_key
from streams.finalise import Held
from streams.lookups import row_of
from streams.opened import in_order
from streams.reading import Served, Serving, ViewReader
from streams.store import Row
from streams.vectors import VectorLayout

ROUND = 10_000
"""Probes answered together, in order of position; as many wait meanwhile, so that few come too late for their turn."""
MOST_OPEN = 50_000
"""Probes that wait for what is late. With more, the oldest is judged by what the log has told until then."""

_encode = msgspec.json.Encoder().encode


Oldest = Mapping[str, int | None]
"""Per source of a view, the oldest time that may be asked about: `streams.retention.Retention.oldest_ms`."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A probe that equals the log at its positions, and waits for what is late."""

    probe: Probe
    shots: Mapping[Reach, Shot]
    oldest_ms: Oldest


class ParityProof:
    """Takes probes, in whatever order, and proves each against the log.

    Args:
        model: whose vectors.
        replay: makes a replay of the log from its beginning: the first one, and another where a probe asks for a
            position that the one at hand has passed.
        hindsight: whether to tell what late records and duplicates cost. The replay must have been made with it.
        definition_of: from a release to the digest of the model's definition, None where it is not known.
        tell: is told of progress.

    Cost: 50-100 us a probe beside the replay. Memory: 20,000 probes at most, and `MOST_OPEN` in hindsight.
    """

    def __init__(
        self,
        model: ModelDefinition,
        replay: Callable[[], LogReplay],
        *,
        hindsight: bool = True,
        definition_of: Callable[[str], str | None] = lambda _: None,
        tell: Tell = tell_nobody,
    ) -> None:
        self.found = Parity()
        self._model = model
        self._readers = tuple(ViewReader(view) for view in model.views)
        self._keys = {source.key for view in model.views for source in view.sources}
        self._layout = VectorLayout.of(model)
        self._new_replay = replay
        self._replay = replay()
        self._hindsight = hindsight
        self._definition_of = definition_of
        self._tell = tell
        self._waiting: list[Probe] = []
        self._behind: list[Probe] = []
        self._open: deque[_Open] = deque()

    @property
    def waiting(self) -> int:
        """How many probes wait for their round."""
        return len(self._waiting)

    def take(self, probe: Probe | Unread) -> None:
        """Take one probe; every `ROUND` of them the replay goes on."""
        if isinstance(probe, Unread):
            self.found.skipped[Skip.NO_REQUEST] += 1
        elif not probe.positions:
            self.found.skipped[Skip.NOT_READ] += 1
        elif not self._is_at_hand(probe):
            self.found.note(_mismatch(probe, Label.VERSION, {}))
        else:
            self._waiting.append(probe)
            if len(self._waiting) >= 2 * ROUND:
                self.answer(ROUND)

    def answer(self, count: int | None = None) -> None:
        """Prove the ``count`` lowest of those that wait, in order of position; all of them by default."""
        if len(self._behind) >= ROUND:
            self._go_back()
        self._waiting.sort(key=_height)
        probes, self._waiting = self._waiting[:count], self._waiting[count:] if count is not None else []
        asked = [(probe, self._ask(probe)) for probe in probes]
        self._replay.answer(self._tell)
        for probe, reaches in asked:
            if reaches is not None:
                self._compare(probe, {reach: self._of(reach).shot(reach) for reach in reaches})
        self._replay.forget_shots()
        while len(self._open) > MOST_OPEN:
            self._judge(self._open.popleft())

    def finish(self) -> Parity:
        """Prove all that waits, read the log to its end for what is late, and return what was found."""
        self.answer()
        while True:
            self._settle()
            if not self._behind:
                self._replay.close()
                return self.found
            self._go_back()
            self.answer()

    def close(self) -> None:
        """Stop reading."""
        self._replay.close()

    def _settle(self) -> None:
        """Judge all that is open by the log as it is now."""
        if self._open:
            self._replay.finish(self._tell)
        while self._open:
            self._judge(self._open.popleft())

    def _go_back(self) -> None:
        """Begin the log again, for probes whose positions the replay had passed."""
        self._settle()
        self._replay.close()
        self._replay = self._new_replay()
        self._waiting, self._behind = [*self._behind, *self._waiting], []

    def _is_at_hand(self, probe: Probe) -> bool:
        """Return whether the probe was served from the definition at hand."""
        lengths = {len(probe.vector), len(probe.ages_ms or probe.vector)}
        if set(probe.positions) != self._keys or lengths != {len(self._model.inputs)}:
            return False
        return self._definition_of(probe.release) in {None, self._model.digest}

    def _ask(self, probe: Probe) -> list[Reach] | None:
        """Ask for every cell of a probe; None where the log cannot tell, or has been replayed too far."""
        reaches = list(self._reaches(probe))
        replays = [self._replay.of(reach) for reach in reaches]
        if None in replays:
            self.found.skipped[Skip.LOG_FORGOTTEN] += 1
            return None
        found = [(replay, reach) for replay, reach in zip(replays, reaches, strict=True) if replay is not None]
        if any(reach.position < replay.reached for replay, reach in found):
            self._behind.append(probe)
            return None
        for replay, reach in found:
            replay.ask(reach, probe.at_ms)
        return reaches

    def _reaches(self, probe: Probe) -> Sequence[Reach]:
        return [
            Reach(source.key, name, position, entity)
            for reader in self._readers
            if (entity := asked_key(reader.by, probe.entities)) is not None
            for source, _ in reader.sources
            for name, position in probe.positions[source.key].items()
        ]

    def _of(self, reach: Reach) -> SourceReplay:
        replay = self._replay.of(reach)
        assert replay is not None  # noqa: S101  # it was asked
        return replay

    def _compare(self, probe: Probe, shots: Mapping[Reach, Shot]) -> None:
        cells = {reach: self._of(reach).state(shot.served) for reach, shot in shots.items() if shot.served is not None}
        oldest = self._oldest(shots)
        served = self._served(probe, cells, oldest)
        differing = {**self._differing(probe, served), **self._otherwise_old(probe, served)}
        if differing:
            self.found.note(_mismatch(probe, Label.FAULT, differing))
            self._close(shots)
        else:
            self.found.equal += 1
            if self._hindsight:
                self._open.append(_Open(probe, shots, oldest))

    def _judge(self, opened: _Open) -> None:
        """Compare a probe with what the log knows now, and forget it."""
        probe, shots, oldest = opened.probe, opened.shots, opened.oldest_ms
        once, late = dict[Reach, CellState](), dict[Reach, CellState]()
        for reach, shot in shots.items():
            if shot.once is not None:
                once[reach] = self._of(reach).state(shot.once)
            with_late = self._of(reach).with_late(reach, shot, probe.at_ms)
            if with_late is not None:
                late[reach] = with_late
        served = self._served(probe, late, oldest)
        differing = self._differing(probe, served)
        if differing:
            # Late records aside, what is left to differ from the answer served is an id that counts twice.
            served_once = self._served(probe, once, oldest)
            is_late = _encode(self._vector(probe, served)) != _encode(self._vector(probe, served_once))
            self.found.note(_mismatch(probe, Label.LATE if is_late else Label.DUPLICATE, differing))
        self._close(shots)

    def _close(self, shots: Mapping[Reach, Shot]) -> None:
        for reach in shots:
            self._of(reach).close(reach.entity)

    def _oldest(self, shots: Iterable[Reach]) -> Oldest:
        """Return the oldest time that may be asked about, per source that was read."""
        rows: dict[str, list[Row]] = {}
        for reach in shots:
            rows.setdefault(reach.source, []).append(self._of(reach).row(reach.position))
        pairs = [each for reader in self._readers for each in zip(reader.view.sources, reader.retentions, strict=True)]
        return {source.key: retention.oldest_ms(rows.get(source.key, ())) for source, retention in pairs}

    def _differing(self, probe: Probe, served: Served) -> dict[str, tuple[Value, Value]]:
        """Return the inputs that differ in their bits or types."""
        vector = self._vector(probe, served)
        if _encode(vector) == _encode(probe.vector):
            return {}
        compared = zip(self._model.inputs, probe.vector, vector, strict=True)
        return {each.name: (was, log) for each, was, log in compared if _encode(was) != _encode(log)}

    def _otherwise_old(self, probe: Probe, served: Served) -> dict[str, tuple[Value, Value]]:
        """Return the inputs whose ages differ, where the prediction tells any."""
        if not probe.ages_ms:
            return {}
        compared = zip(self._model.inputs, probe.ages_ms, self._layout.ages_ms(served.ages_ms()), strict=True)
        return {f"{each.name} age_ms": (was, log) for each, was, log in compared if was != log}

    def _vector(self, probe: Probe, served: Served) -> list[Value]:
        return self._layout.vector(row_of(served, probe.inputs, probe.at_ms))

    def _served(self, probe: Probe, cells: Mapping[Reach, CellState], oldest: Oldest) -> Served:
        serving = Serving(probe.at_ms)
        for reader in self._readers:
            entity = asked_key(reader.by, probe.entities)
            positions = [probe.positions[source.key] for source in reader.view.sources]
            held = [
                Held(_states(source.key, entity, reached, cells), oldest[source.key])
                for source, reached in zip(reader.view.sources, positions, strict=True)
            ]
            reader.add(serving, None if entity is None else held, positions)
        return serving.done(None)


def _states(
    source: str, entity: str | None, positions: Mapping[str, int], cells: Mapping[Reach, CellState]
) -> list[CellState] | None:
    """Return an entity's cells in one source, in order of partition; None if the source had not started."""
    if not positions:
        return None
    if entity is None:
        return []
    reaches = (Reach(source, name, positions[name], entity) for name in in_order(positions))
    return [cells[reach] for reach in reaches if reach in cells]


def _height(probe: Probe) -> int:
    """Return how much of the log a probe contains, all partitions together: what is asked first is what is lower."""
    return sum(position for reached in probe.positions.values() for position in reached.values())


def _mismatch(probe: Probe, label: Label, differing: Mapping[str, tuple[Value, Value]]) -> Mismatch:
    return Mismatch(probe.request_id, label, probe.at_ms, probe.entities, differing)
