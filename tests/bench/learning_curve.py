"""Draws how an online model gets better while it serves: ``docs/learning.svg``.

``python -m tests.bench.learning_curve``. The flights of January to March 2013 in the order in which they happened: a
flight is scored when it should leave, with what its label's learner had learned by then, and learned when it arrives.
The online model begins on 1 January knowing nothing; the offline one is trained on January and stays as it is; the base
rate is the share of late flights among the labels known so far. Vectors are made by the engine that serves, scores are
counted by `online_models.quality` as the monitoring role does. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch.build_training_set import TrainingSet
from batch.train_offline_model import train_offline
from definitions.encoder import Encoder
from examples.flights.timeline import local_midnight_ms
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer
from online_models.quality.buckets import DAY_MS, Bucket, Layout, count_example, count_prediction
from online_models.quality.report import Quality
from online_models.snapshots import digest_of
from tests.bench.flight_examples import MODEL, FlightExample, read_examples
from tests.bench.svg import Chart, drawn

ONLINE, OFFLINE, BASE = "online, from nothing", "offline, of January", "base rate"
WINDOW = 7


def main() -> None:
    """Replay, draw and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--end", default="2013-04-01", help="the first day that is left out")
    parser.add_argument("--to", type=Path, default=Path("docs/learning.svg"))
    options = parser.parse_args()
    found, training = read_examples("2013-01-01", options.end)
    quality = _replayed(found, _offline(training))
    options.to.write_text(drawn(_charts(quality)))
    sys.stdout.write(json.dumps({"flights": len(found), **_figures(quality)}) + "\n")


def _offline(training: TrainingSet) -> XGBoostScorer:
    until = sum(at < local_midnight_ms("2013-02-01") for at in training.times_ms)
    january, learner = training.part(0, until), MODEL.learners["offline"]
    vocabulary = Encoder.fit(MODEL.inputs, january.vectors)
    data = train_offline(learner, vocabulary, january).data
    return XGBoostScorer(learner.name, vocabulary, data=data, digest=digest_of(data))


def _replayed(found: Sequence[FlightExample], offline: XGBoostScorer) -> Quality:
    label = MODEL.label
    assert label is not None
    layout, buckets = Layout(label.within_ms), dict[int, Bucket]()
    for each, scores in _served(found, offline):
        bucket = buckets.setdefault(layout.bucket(each.asked_ms), Bucket())
        count_prediction(layout, bucket, release="", vector=each.vector, learners=scores)
        delay_ms = each.known_ms - each.asked_ms
        count_example(
            layout, bucket, release="", vector=each.vector, scores=scores, label=each.label, delay_ms=delay_ms
        )
    return Quality(layout, buckets, None)


def _served(found: Sequence[FlightExample], offline: XGBoostScorer) -> Iterator[tuple[FlightExample, dict[str, float]]]:
    """Yield each flight with the scores that it would have been served, in order of schedule."""
    online = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    waiting: list[tuple[int, int, FlightExample]] = []
    late, known, february = 0, 0, local_midnight_ms("2013-02-01")
    later = [number for number, each in enumerate(found) if each.asked_ms >= february]
    frozen = dict(zip(later, offline.score_many([found[number].vector for number in later]), strict=True))
    for number, each in enumerate(found):
        while waiting and waiting[0][0] <= each.asked_ms:
            _, _, arrived = heapq.heappop(waiting)
            online.learn_one(arrived.vector, arrived.label)
            late, known = late + arrived.label, known + 1
        scores = {ONLINE: online.score_many([each.vector])[0], BASE: (late + 1) / (known + 2)}
        if number in frozen:
            scores[OFFLINE] = frozen[number]
        heapq.heappush(waiting, (each.known_ms, number, each))
        yield each, scores


def _charts(quality: Quality) -> list[Chart]:
    days = quality.numbers
    ticks = {float(day): _text(day) for day in days if _text(day).endswith((" 1", " 15"))}
    windows = [days[max(0, place - WINDOW + 1) : place + 1] for place in range(len(days))]
    lasting = [days[: place + 1] for place in range(len(days))]
    return [
        Chart("AUC, last 7 days of prediction time (more is better)", _lines(quality, windows, "auc"), ticks),
        Chart("log loss, last 7 days of prediction time (less is better)", _lines(quality, windows, "log_loss"), ticks),
        Chart("log loss, since the learner began (less is better)", _lines(quality, lasting, "log_loss"), ticks),
    ]


def _lines(quality: Quality, spans: Sequence[Sequence[int]], measure: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    names = [each for each in (ONLINE, OFFLINE, BASE) if (measure, each) != ("auc", BASE)]
    for name in names:
        for span in spans:
            told = quality.told(name, span)
            value = None if told is None else getattr(told.measures, measure)
            if value is not None:
                lines.setdefault(name, []).append((float(span[-1]), value))
    return lines


def _figures(quality: Quality) -> dict[str, Any]:
    """Return measures by month and of the first days."""
    spans = {"first_3_days": quality.numbers[:3]}
    for day in quality.numbers:
        spans.setdefault(datetime.fromtimestamp(day * DAY_MS / 1_000, UTC).strftime("%B").lower(), []).append(day)
    told = {span: {name: quality.told(name, days) for name in (ONLINE, OFFLINE, BASE)} for span, days in spans.items()}
    return {
        span: {
            name.partition(",")[0]: {
                key: round(value, 4)
                for key, value in each.measures.values().items()
                if key in ("auc", "log_loss", "brier", "calibration_error")
            }
            for name, each in of_span.items()
            if each is not None and each.matured
        }
        for span, of_span in told.items()
    }


def _text(day: int) -> str:
    at = datetime.fromtimestamp(day * DAY_MS / 1_000, UTC)
    return f"{at:%b} {at.day}"


if __name__ == "__main__":
    main()
