"""The executor of graphs: candidates of many requests through the stages, by columns, as far as there is time.

Pure and synchronous. What a stage needs is worked out when it is needed, for those that are left: an eager graph does
so at its first stage. Stages take all requests of a micro-batch at once, so a learner is called once for all of them.
Neither changes an answer: every value depends on its own row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from definitions.declared import Dot, GraphDefinition, StageKind
from definitions.encoder import Vector
from definitions.values import ValueType
from online_models.executor import CHAMPION, Clock, Failure
from online_models.graphs import Ask, GraphRun, ModelVersion, Ranked, World, learner_column
from online_models.graphs.columns import Column, Rows
from online_models.graphs.pace import Pace
from online_models.graphs.plan import Asked, Made, Plan, StagePlan
from online_models.graphs.predicting import Beside, predict
from online_models.graphs.ranking import best, best_of_groups, in_order
from online_models.graphs.table import Course, Table


@dataclass(slots=True)
class _Going:
    """One micro-batch on its way."""

    table: Table
    world: World
    versions: dict[tuple[str, str], ModelVersion] = field(default_factory=dict)
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    reached: dict[str, int] = field(default_factory=dict)


class GraphExecutor:
    """Runs one graph on micro-batches.

    Example:
        >>> executor = GraphExecutor(ranking, clock=lambda: 0.0)  # doctest: +SKIP
        >>> executor.run([Ask(["a", "b"], 0, {}, {"price": [1.0, 2.0]})], world).answers  # doctest: +SKIP
        (Ranked(places=[1, 0], scores=[2.0, 1.0], degraded=(), reason=None, is_answer=True),)
    """

    def __init__(self, graph: GraphDefinition, *, clock: Clock) -> None:
        self.plan = Plan.of(graph)
        self.pace = Pace(self.plan.tops)
        self._clock = clock
        self._scores = any(each.kind is StageKind.SCORE for each in graph.stages)

    def run(self, asks: Sequence[Ask], world: World) -> GraphRun:
        """Return one ranking per request.

        Where there is not time for all candidates, a stage that reads the store or asks a model takes the best by the
        score so far, and the others leave; where there is time for none, or what it needs is not there, the stage is
        left out. Either is said in ``degraded``. Raises nothing for what a learner does.
        """
        started_ms = self._clock()
        going = _Going(Table(self.plan, asks), world)
        for number, stage in enumerate(self.plan.stages):
            self._stage(going, number, stage)
        return GraphRun(
            answers=tuple(
                _ranked(going.table, rows, going.table.courses[request], must_score=self._scores)
                for request, rows in going.table.requests()
            ),
            versions=tuple(going.versions.values()),
            failures=tuple(going.failures),
            reached=going.reached,
            took_ms=self._clock() - started_ms,
            known=going.table.known,
        )

    def _stage(self, going: _Going, number: int, stage: StagePlan) -> None:
        table = going.table
        going.reached[stage.definition.name] = len(table)
        if len(table) and (not self._is_costly(table, stage) or self._fit(going, number, stage)):
            begun_ms, rows = self._clock(), len(table)
            self._need(going, stage)
            _STEPS[stage.definition.kind](table, stage)
            self.pace.note(number, rows, self._clock() - begun_ms)
        table.keep(stage.kept)

    def _is_costly(self, table: Table, stage: StagePlan) -> bool:
        missing = (name for name in stage.needs if name not in table.columns)
        return any(name in self.plan.views or isinstance(self.plan.made.get(name), Asked | Dot) for name in missing)

    def _fit(self, going: _Going, number: int, stage: StagePlan) -> bool:
        """Let go what there is no time for; return whether anything is left to be done."""
        table, counts, name = going.table, going.table.counts, stage.definition.name
        left_ms = going.world.until_ms - self._clock()
        taken = self.pace.fits(number, counts, left_ms)
        if taken == counts:
            return True
        if any(count and not share for count, share in zip(counts, taken, strict=True)):
            table.note_all(name, "deadline")
            if left_ms > 0:
                self.pace.left_out(number)
            return False
        rows: list[Rows] = []
        for (request, own), share in zip(table.requests(), taken, strict=True):
            chosen = np.sort(best(table.scores[own], table.places[own], share)) + own.start
            rows.append(chosen)
            if share < counts[request]:
                table.courses[request].note(f"{name}: {share} of {counts[request]}", "deadline")
        table.take(np.concatenate(rows))
        return True

    def _need(self, going: _Going, stage: StagePlan) -> None:
        """Have everything there that a stage needs: features in one round trip, then what is made of them."""
        table = going.table
        missing = [name for name in stage.needs if name not in table.columns]
        views = tuple(dict.fromkeys(self.plan.views[name] for name in missing if name in self.plan.views))
        if views:
            wanted = [table.places[rows] for _, rows in table.requests()]
            table.put_features(views, going.world.fetch(views, wanted))
        for name in missing:
            made = self.plan.made.get(name)
            if made is not None:
                table.columns[name] = _make(going, made)
            elif name not in table.columns:
                table.put_input(name)


def _make(going: _Going, made: Made) -> Column:
    if isinstance(made, Asked):
        return _asked(going, made)
    if isinstance(made, Dot):
        return _multiplied(going, made)
    return made.evaluate(going.table.columns, len(going.table))


def _asked(going: _Going, asked: Asked) -> Column:
    """Return a model's scores; without any where none of its learners answered."""
    table, executor = going.table, going.world.models.get(asked.model)
    if executor is None:
        table.note_all(asked.model, "model_unavailable")
        return Column.nothing(ValueType.FLOAT, len(table), unread=True)
    columns = [table.columns[name] for name in asked.names]
    found = predict(executor, asked.learner, asked.inputs, columns, _beside(going, asked))
    going.failures += [(asked.model, failure) for failure in found.failures]
    if found.scores is None or found.version is None:
        table.note_all(asked.model, "model_unavailable")
        return Column.nothing(ValueType.FLOAT, len(table), unread=True)
    if found.version.role != CHAMPION:
        table.note_all(f"{asked.model}.{executor.route.champion}", "model_unavailable")
    for each in found.versions:
        going.versions.setdefault((asked.model, each.learner), ModelVersion(asked.model, each))
    for learner, scores in {found.version.learner: found.scores, **found.members}.items():
        table.note(learner_column(asked.model, learner), Column(ValueType.FLOAT, scores))
    return Column(ValueType.FLOAT, found.scores)


def _beside(going: _Going, asked: Asked) -> Beside:
    """Return what tells what the model's personal learners add to the candidates that are left."""
    table = going.table

    def beside(learner: str, rows: Rows, vectors: Sequence[Vector]) -> Sequence[float] | None:
        if learner not in asked.personal:
            return None
        owners, places = table.owners[rows], table.places[rows]
        wanted = [places[owners == request] for request in range(len(table.asks))]
        added = going.world.recall(asked.model, learner, wanted, vectors)
        if added is None:
            table.note_all(f"{asked.model}.{learner}", "features_unavailable")
        return added

    return beside


def _multiplied(going: _Going, made: Dot) -> Column:
    """Return each candidate's dot product; without any where the matrix is not there."""
    table, matrix = going.table, going.world.matrices.get(made.matrix)
    if matrix is None:
        table.note_all(made.matrix, "model_unavailable")
        return Column.nothing(ValueType.FLOAT, len(table), unread=True)
    unread = table.columns[made.vector].unread
    values = np.full(len(table), np.nan)
    for request, rows in table.requests():
        ids, places = table.asks[request].ids, table.places[rows]
        if 2 * len(places) > len(ids):
            found = matrix.rows_of(ids)[places]
        else:
            found = matrix.rows_of([ids[place] for place in places.tolist()])
        values[rows] = matrix.dot(found, table.vector_of(request, made.vector))
    return Column(ValueType.FLOAT, values, unread)


def _filter(table: Table, stage: StagePlan) -> None:
    column = _column(table, stage)
    kept = column.numbers() == 1.0
    if column.unread is not None:
        kept |= column.unread
        table.note_all(stage.definition.name, "features_unavailable", column.unread)
    table.take(np.flatnonzero(kept))


def _score(table: Table, stage: StagePlan) -> None:
    """Give scores; a request of which nothing could be read keeps those before."""
    column = _column(table, stage)
    scores = column.numbers()
    for request, rows in table.requests():
        if rows.stop == rows.start:
            continue
        if column.unread is not None and column.unread[rows].all():
            table.courses[request].note(stage.definition.name, "features_unavailable")
            continue
        table.scores[rows] = scores[rows]
        table.courses[request].is_scored = True


def _top(table: Table, stage: StagePlan) -> None:
    count = stage.definition.count
    _each(table, lambda rows: best(table.scores[rows], table.places[rows], count))


def _group(table: Table, stage: StagePlan) -> None:
    keys, count = _column(table, stage).listed(), stage.definition.count
    _each(table, lambda rows: best_of_groups(keys[rows], table.scores[rows], table.places[rows], count))


def _sort(table: Table, stage: StagePlan) -> None:
    values = table.scores if stage.definition.column is None else _column(table, stage).numbers()
    descending = stage.definition.descending
    _each(table, lambda rows: in_order(values[rows], table.places[rows], descending=descending))


_STEPS: dict[StageKind, Callable[[Table, StagePlan], None]] = {
    StageKind.FILTER: _filter,
    StageKind.SCORE: _score,
    StageKind.TOP: _top,
    StageKind.GROUP: _group,
    StageKind.SORT: _sort,
}


def _column(table: Table, stage: StagePlan) -> Column:
    assert stage.definition.column is not None  # noqa: S101  # the declaration gives these kinds one
    return table.columns[stage.definition.column]


def _each(table: Table, chosen: Callable[[slice], Rows]) -> None:
    """Keep of each request's rows what ``chosen`` chooses of them, in its order."""
    table.take(np.concatenate([chosen(rows) + rows.start for _, rows in table.requests()]))


def _ranked(table: Table, rows: slice, course: Course, *, must_score: bool) -> Ranked:
    scores = table.scores[rows].tolist()
    return Ranked(
        places=table.places[rows].tolist(),
        scores=[None if each != each else each for each in scores],  # noqa: PLR0124  # NaN alone
        degraded=tuple(course.degraded),
        reason=course.reason,
        is_answer=course.is_scored or not must_score or course.reason is None or not scores,
    )
