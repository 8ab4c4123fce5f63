"""What personal models are worth on the flights of 2013: log loss of every score at the time it would have been given.

``python -m tests.bench.flights_personal [--months N] [--cache FILE]``. The vectors are those of the demo's model, made
by the batch path from the whole year's events, as known when each flight should leave. A score is given then; a label
is learned when the flight has arrived, not before. January is only learned from; every day from February on counts.

Compared: the share of late flights so far (``base``); River's regression of the demo (``online``); XGBoost trained on
January (``january``) and trained anew each month on everything before (``monthly``); personal models by carrier, tail
number and route on top of these, with an intercept per entity (``+own``) and with four coefficients (``+own4``); and
the same entities on top of the base rate, without a global model (``own alone``). Intervals are 95 %, by bootstrap over
days. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.personal_cells import named
from batch.build_training_set import TrainingSet, build_training_set, question_of
from batch.train_offline_model import train_offline
from definitions.declared import LearnerDefinition, PersonalDefinition
from definitions.encoder import Encoder
from definitions.values import Value
from examples.flights.app import Late
from examples.flights.data import Flight, read_flights, read_weather
from examples.flights.timeline import NEW_YORK, happenings, local_midnight_ms, questions
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer
from online_models.personal import Evidence, Instance, PersonalModel
from online_models.progress import log_loss_one
from online_models.snapshots import digest_of
from tests.bench.local_kafka import say as tell
from tests.unit.batch.memory_history import MemoryHistory

BY = (("carrier",), ("tail",), ("origin", "dest"))
FOUR = ("hour", "origin_departures.delay_1h", "tail_arrivals.latest_24h")
_OWN, _FOUR, _TIGHT = ("+own", (), None), ("+own4", FOUR, None), ("+own4 tight", FOUR, 0.003)
VARIANTS: Mapping[str, Sequence[tuple[str, tuple[str, ...], float | None]]] = {
    "january": (_OWN, _FOUR, _TIGHT),
    "monthly": (_OWN, _TIGHT),
}
"""Per offset: suffix, features and prior (None: fitted)."""
RESAMPLES = 2_000
FIRST = 20
MODEL = Late.definition
Floats = NDArray[np.float64]


class Kept(msgspec.Struct, array_like=True):
    """The training set in a file, so that a second run need not make it."""

    vectors: list[list[Value]]
    labels: list[bool]
    times_ms: list[int]


@dataclass(frozen=True, slots=True)
class Year:
    """Every flight that has a label, in order of schedule."""

    training: TrainingSet
    flights: list[Flight]
    known_ms: list[int]
    """When each label was known."""
    months: list[int]

    def __len__(self) -> int:
        return len(self.flights)


def say(text: str) -> None:
    """Tell people how far it has come."""
    tell(f"{datetime.now(UTC):%H:%M:%S} {text}")


def read_year(months: int, cache: Path | None) -> Year:
    """Return the vectors and labels of the first months of 2013."""
    wanted = list(range(1, months + 1))
    flights = read_flights(wanted)
    labelled, known_ms = _labelled(flights)
    if cache is not None and cache.exists():
        kept = msgspec.msgpack.decode(cache.read_bytes(), type=Kept)
        training = TrainingSet(kept.vectors, list(kept.labels), kept.times_ms, {}, "", "")
    else:
        training = _training(flights, wanted)
        if cache is not None:
            cache.write_bytes(msgspec.msgpack.encode(Kept(training.vectors, training.labels, training.times_ms)))  # type: ignore[arg-type]
    assert training.times_ms == [each.scheduled_ms for each in labelled]
    month_of = [datetime.fromtimestamp(at_ms / 1_000, NEW_YORK).month for at_ms in training.times_ms]
    return Year(training, labelled, known_ms, month_of)


def _labelled(flights: Sequence[Flight]) -> tuple[list[Flight], list[int]]:
    """Return the flights that get a label by the rule of the join, and when; a few ids of the data are not unique."""
    label = MODEL.label
    assert label is not None
    arrivals: dict[str, list[int]] = {}
    for each in sorted(flights, key=lambda flight: flight.arrived_ms or 0):
        if each.arrived_ms is not None:
            arrivals.setdefault(each.flight_id, []).append(each.arrived_ms)
    found, known_ms = [], []
    for each in flights:
        until_ms = each.scheduled_ms + label.within_ms
        at_ms = next((at for at in arrivals.get(each.flight_id, ()) if at <= until_ms), None)
        if at_ms is not None:
            found.append(each)
            known_ms.append(at_ms)
    return found, known_ms


def _training(flights: Sequence[Flight], months: Sequence[int]) -> TrainingSet:
    topics: dict[str, list[bytes | None]] = {}
    for each in happenings(flights, read_weather(months)):
        topics.setdefault(each.topic, []).append(each.value)
    history = MemoryHistory({topic: [records] for topic, records in topics.items()}, batch=5_000)
    asked = [question_of(each, MODEL, number) for number, each in enumerate(questions(flights), start=1)]

    def told(stage: str, done: int, total: int) -> None:
        if done % 50_000 == 0:
            say(f"{stage}: {done:,} of {total:,}")

    return build_training_set(MODEL, asked, history, tell=told)


def offline(year: Year, *, retrained: bool) -> tuple[Floats, list[str]]:
    """Return each flight's score from February on, and the month whose model gave it."""
    scores, versions = np.full(len(year), np.nan), [""] * len(year)
    learner = MODEL.learners["offline"]
    for month in sorted(set(year.months) - {1}):
        first, end = year.months.index(month), len(year) - year.months[::-1].index(month)
        if month == 2 or retrained:
            known = year.training.part(0, first)
            encoder = Encoder.fit(MODEL.inputs, known.vectors)
            data = train_offline(learner, encoder, known).data
            scorer = XGBoostScorer("offline", encoder, data=data, digest=digest_of(data))
            trained = f"before {month}"
        for low in range(first, end, 5_000):
            high = min(end, low + 5_000)
            scores[low:high] = scorer.score_many(year.training.vectors[low:high])
        versions[first:end] = [trained] * (end - first)
        say(f"offline, {'monthly' if retrained else 'january'}: month {month}")
    return scores, versions


def played(year: Year, learn: Callable[[int], None], score: Callable[[int], float], *, start: int = 0) -> Floats:
    """Return each flight's score at its schedule; it is learned when the first flight after its arrival is scored."""
    found, waiting = np.full(len(year), np.nan), list[tuple[int, int]]()
    for index in range(start, len(year)):
        while waiting and waiting[0][0] <= year.training.times_ms[index]:
            learn(heappop(waiting)[1])
        found[index] = score(index)
        heappush(waiting, (year.known_ms[index], index))
        if index % 50_000 == 0:
            say(f"  {index:,}")
    return found


def base(year: Year) -> Floats:
    """Return the share of late flights among those that had arrived."""
    counts = [1.0, 2.0]

    def learn(index: int) -> None:
        counts[0] += bool(year.training.labels[index])
        counts[1] += 1

    return played(year, learn, lambda _: counts[0] / counts[1])


def online(year: Year) -> Floats:
    """Return the scores of the demo's online learner."""
    learner = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    vectors, labels = year.training.vectors, year.training.labels
    return played(
        year,
        lambda index: learner.learn_one(vectors[index], labels[index]),
        lambda index: learner.score_many([vectors[index]])[0],
    )


def personal(
    year: Year,
    offsets: Floats,
    versions: Sequence[str],
    features: tuple[str, ...] = (),
    *,
    prior: float | None = None,
    start: int,
) -> tuple[Floats, dict[str, object]]:
    """Return the scores of a personal model on top of others, and what it found of the population."""
    told = PersonalDefinition(by=BY, features=features, prior=prior)
    learner = LearnerDefinition("own", "personal", members={"offline": 1.0}, personal=told)
    model = PersonalModel(learner, MODEL.inputs)
    population, known = model.population(), dict[str, Evidence]()
    vectors, labels, times_ms = year.training.vectors, year.training.labels, year.training.times_ms

    def evidence(index: int) -> list[Evidence | None]:
        flight = year.flights[index]
        ids = {"carrier": flight.carrier, "tail": flight.tail, "origin": flight.origin, "dest": flight.dest}
        found: list[Evidence | None] = []
        for name in named(learner, ids):
            if name is not None and name not in known:
                known[name] = model.fresh(population)
            found.append(None if name is None else known[name])
        return found

    def learn(index: int) -> None:
        made = Instance(vectors[index], offsets[index], versions[index], labels[index], times_ms[index])
        model.learn(made, evidence(index), population)

    def score(index: int) -> float:
        recalled = model.recall(vectors[index], evidence(index), population, population.digest)
        return model.score(offsets[index], recalled.adds)

    found = played(year, learn, score, start=start)
    kinds = dict(zip(model.kinds, population.kinds, strict=True))
    return found, {
        kind: {
            "entities": each.begun,
            "prior_deviation": [round(float(one), 3) for one in 1.0 / np.sqrt(each.precisions)],
            "forgetting": each.forgetting.rate,
        }
        for kind, each in kinds.items()
    }


def losses(year: Year, scores: Floats, start: int) -> Floats:
    """Return the log loss of each score that counts."""
    pairs = zip(scores[start:], year.training.labels[start:], strict=True)
    return np.array([log_loss_one(float(score), bool(label)) for score, label in pairs])


def days_of(year: Year, start: int) -> NDArray[np.int64]:
    """Return the number of each flight's day in New York."""
    first_ms = local_midnight_ms("2013-01-01")
    return np.array([(at_ms - first_ms) // 86_400_000 for at_ms in year.training.times_ms[start:]])


class Judge:
    """Means over flights with intervals by bootstrap over days, the same resamples for everybody."""

    def __init__(self, days: NDArray[np.int64]) -> None:
        self._days = days - days.min()
        n = int(self._days.max()) + 1
        self._counts = np.bincount(self._days, minlength=n)
        self._drawn = np.random.default_rng(13).integers(0, n, (RESAMPLES, n))

    def mean(self, values: Floats, chosen: NDArray[np.bool_] | None = None) -> tuple[float, float, float]:
        """Return the mean and its 95 % interval, of some flights or all."""
        weights = np.ones(len(values)) if chosen is None else chosen.astype(float)
        n = len(self._counts)
        sums = np.bincount(self._days, values * weights, minlength=n)
        counts = np.bincount(self._days, weights, minlength=n)
        resampled = sums[self._drawn].sum(axis=1) / np.maximum(1.0, counts[self._drawn].sum(axis=1))
        low, high = np.quantile(resampled, [0.025, 0.975])
        return float(sums.sum() / counts.sum()), float(low), float(high)


def earlier(year: Year, of: Callable[[Flight], object], start: int) -> NDArray[np.int64]:
    """Return how many flights of the same entity were counted before each."""
    seen: dict[object, int] = {}
    found = []
    for flight in year.flights[start:]:
        key = of(flight)
        found.append(seen.get(key, 0))
        seen[key] = found[-1] + 1
    return np.array(found)


def segments(year: Year, start: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the parts of the year that are looked at apart."""
    tails = earlier(year, lambda flight: flight.tail, start)
    yield f"first {FIRST} flights of an aircraft", tails < FIRST
    if (tails >= 200).any():
        yield "200th flight of an aircraft and later", tails >= 200
    months = np.array(year.months[start:])
    for month in sorted(set(months.tolist())):
        yield f"month {month}", months == month


def main() -> None:
    """Run everything, print a table, and last the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--offsets", nargs="*", default=["january", "monthly"], help="offline models to rest on")
    parser.add_argument("--online", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    began = time.monotonic()
    year = read_year(given.months, given.cache)
    start = year.months.index(2)
    say(f"{len(year):,} labelled flights, {len(year) - start:,} of them count")
    scores: dict[str, Floats] = {"base": base(year)}
    if given.online:
        scores["online"] = online(year)
    found: dict[str, object] = {}
    for name in given.offsets:
        offsets, versions = offline(year, retrained=name == "monthly")
        scores[name] = offsets
        for suffix, features, prior in VARIANTS[name]:
            say(f"{name}{suffix}")
            scores[name + suffix], found[name + suffix] = personal(
                year, offsets, versions, features, prior=prior, start=start
            )
    say("own alone")
    scores["own alone"], found["own alone"] = personal(year, scores["base"], ["base"] * len(year), (), start=start)
    report(year, scores, found, start, time.monotonic() - began)


def report(year: Year, scores: Mapping[str, Floats], found: Mapping[str, object], start: int, seconds: float) -> None:
    """Print what came out."""
    judge = Judge(days_of(year, start))
    lost = {name: losses(year, each, start) for name, each in scores.items()}
    line: dict[str, object] = {
        "flights": len(year) - start,
        "late_share": round(sum(map(bool, year.training.labels[start:])) / (len(year) - start), 4),
        "log_loss": {name: [round(one, 5) for one in judge.mean(each)] for name, each in lost.items()},
    }
    pairs = [
        (name, against)
        for name in lost
        for against in ("january", "monthly", "online")
        if against in lost and "own" in name and (name.startswith(against) or against == "online")
    ]
    gains = {f"{name} - {against}": lost[name] - lost[against] for name, against in pairs}
    line["differences"] = {name: [round(one, 5) for one in judge.mean(each)] for name, each in gains.items()}
    line["segments"] = {
        part: {name: [round(one, 5) for one in judge.mean(each, chosen)] for name, each in gains.items()}
        for part, chosen in segments(year, start)
    }
    line["first_flights_log_loss"] = {
        name: round(judge.mean(each, next(segments(year, start))[1])[0], 5) for name, each in lost.items()
    }
    line["population"], line["seconds"] = found, round(seconds)
    for name, each in lost.items():
        mean, low, high = judge.mean(each)
        say(f"{name:14} {mean:.5f}  [{low:.5f}, {high:.5f}]")
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
