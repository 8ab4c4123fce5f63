"""What the demo knows of the running system: rows, replies, examples, verdicts, alerts, as anybody could read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from agents.join_labels import read_tally
from agents.raise_alerts import ModelVerdict, read_verdicts
from agents.read_progress import fold as learner_fold
from agents.transport import Tail
from definitions.declared import ModelDefinition
from definitions.values import ValueType, magnitude
from headrace.session import Session
from online_models.progress import rank_auc
from streams import topics
from streams.messages import Alert, Example, ScoreReply
from streams.request_reply import Status
from streams.store import Question, Row

TALLIES = ("read", "applied", "duplicate", "too_late", "no_entity", "dead")


@dataclass(slots=True)
class Replies:
    """What callers saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    """From before a request was sent until its reply was in the caller's hands."""
    unanswered: int = 0
    """Requests that the client itself had to end, because no reply came in time."""

    def take(self, reply: ScoreReply, took_ms: float) -> None:
        """Count one outcome."""
        self.statuses[reply.status] += 1
        self.latencies_ms.append(took_ms)
        self.unanswered += reply.status == Status.EXPIRED and not reply.request_id

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies, 0 while there are none."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else 0.0


@dataclass(slots=True)
class Judged:
    """The examples that became of the predictions: scores as served, beside the label that came later."""

    scores: dict[str, list[float]] = field(default_factory=dict)
    labels: list[bool] = field(default_factory=list)
    vectors: list[list[float]] = field(default_factory=list)
    """The inputs that are numbers, as served; what was missing is NaN."""

    def auc(self, learner: str) -> float | None:
        """Return the AUC of a learner's scores, None while only one kind of label was seen. Cost: about 2 ms."""
        return rank_auc(self.scores.get(learner, ()), self.labels) if self.scores.get(learner) else None

    def positives_ratio(self) -> float:
        """Return the share of late arrivals."""
        return sum(self.labels) / len(self.labels) if self.labels else 0.0

    def best_single(self, names: Sequence[str]) -> tuple[str, float]:
        """Return the input that alone ranks best, in either direction, and its AUC; missing values rank in the middle.

        Cost: a sort of every column, about 0.1 s at the end of the demo.
        """
        if not self.vectors:
            return "", 0.5
        columns = np.array(self.vectors, dtype=np.float64).T
        best = ("", 0.5)
        for name, column in zip(names, columns, strict=True):
            missing = np.isnan(column)
            filled = np.where(missing, np.median(column[~missing]) if not missing.all() else 0.0, column)
            auc = rank_auc(filled.tolist(), self.labels)
            if auc is not None:
                best = max(best, (name, max(auc, 1 - auc)), key=lambda found: found[1])
        return best


class Observer:
    """Follows one model's examples and alerts from their first record on, and reads rows and verdicts when asked."""

    def __init__(self, session: Session, model: ModelDefinition, examples: Tail, alerts: Tail) -> None:
        self.judged = Judged()
        self.alerts: list[Alert] = []
        self.days: dict[str, ModelVerdict] = {}
        """Day to the verdict on it, as it was when first seen."""
        self._session = session
        self._model = model
        self._examples = examples
        self._alerts = alerts
        self._example_decoder = msgspec.json.Decoder(Example)
        self._alert_decoder = msgspec.json.Decoder(Alert)
        self._numbers = [place for place, each in enumerate(model.inputs) if each.type is not ValueType.CATEGORY]

    @classmethod
    async def of(cls, session: Session, model: ModelDefinition) -> Observer:
        """Return an observer that sees everything from the beginning."""
        log, namespace = session.log, session.namespace
        tails = [
            await log.tail([(partition, 0) for partition in await log.partitions(topic)])
            for topic in (topics.examples(namespace, model), topics.alerts(namespace))
        ]
        return cls(session, model, *tails)

    async def close(self) -> None:
        """Stop following."""
        await self._examples.stop()
        await self._alerts.stop()

    async def look(self) -> None:
        """Take in what has come since the last look."""
        while records := await self._examples.poll(0):
            for _, record in records:
                self._take(self._example_decoder.decode(record.value() or b""))
        while records := await self._alerts.poll(0):
            self.alerts += [self._alert_decoder.decode(record.value() or b"") for _, record in records]
        self.look_at_verdict()

    def look_at_verdict(self) -> None:
        """Keep the verdict in force: the store holds only the newest. Cost: one read, below 1 ms."""
        verdict = read_verdicts(self._session.store).get(self._model.key)
        if verdict is not None:
            self.days.setdefault(verdict.health.day, verdict)

    @property
    def number_names(self) -> list[str]:
        """The names of the inputs that are numbers, in order."""
        return [self._model.inputs[place].name for place in self._numbers]

    @property
    def incidents(self) -> list[str]:
        """The incidents that were opened, each once, in order."""
        return list(dict.fromkeys(alert.incident for alert in self.alerts if alert.state == "firing"))

    def rows(self) -> dict[str, dict[str, int]]:
        """Return the tallies of the intake and of every view, summed over partitions."""
        sources = [source for view in self._session.app.views for source in view.sources]
        folds = [("intake", "intake"), *((source.view, source.key) for source in sources)]
        found = self._session.store.read(Question(folds=[key for _, key in folds])).rows
        rows: dict[str, list[Row]] = {}
        for (name, _), stored in zip(folds, found, strict=True):
            rows.setdefault(name, []).extend(each.row for each in stored.values())
        return {name: _sums(of_name) for name, of_name in rows.items()}

    def labels_matched(self) -> int:
        """Return how many predictions met their label."""
        return read_tally(self._session.store, self._model.key).matched

    def examples_learned(self, learner: str) -> int:
        """Return how many examples a learner learned, by its row."""
        [rows] = self._session.store.read(Question(folds=[learner_fold(self._model.key, learner)])).rows
        return sum(stored.row.applied for stored in rows.values())

    def _take(self, example: Example) -> None:
        self.judged.labels.append(bool(example.label))
        for learner in self._model.learners:
            self.judged.scores.setdefault(learner, []).append(example.scores.get(learner, float("nan")))
        values = (example.vector[place] for place in self._numbers)
        self.judged.vectors.append([float("nan") if value is None else magnitude(value) for value in values])


def _sums(rows: Sequence[Row]) -> dict[str, int]:
    sums: Mapping[str, int] = Counter({name: sum(getattr(row, name) for row in rows) for name in TALLIES})
    return dict(sums)
