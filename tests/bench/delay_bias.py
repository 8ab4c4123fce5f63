"""How near the reported share of positives is to the truth while most labels are still to come.

``python -m tests.bench.delay_bias``. 5 % of predictions come true, after 10 days on average (exponential); that the
others did not is confirmed at day 30. At the end of every day from the first whose arrivals can be told, the share is
asked of the last 7 and of the last 30 days of prediction time, and compared with what becomes of those predictions.
Beside it: the labels so far, and missing labels taken as negative. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys

from online_models.quality.arrivals import Clock
from online_models.quality.buckets import DAY_MS, Bucket, Layout, count_example, count_prediction
from online_models.quality.report import Quality

RATE, MEAN_DAYS, HORIZON_DAYS = 0.05, 10.0, 30
WINDOWS = (7, 30)
TOLERANCE = 0.005
LAYOUT = Layout(HORIZON_DAYS * DAY_MS)
STEP_MS = LAYOUT.within_ms // 96


class Stream:
    """Predictions, and labels as they come."""

    def __init__(self, seed: int, a_day: int) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.positives: dict[int, int] = {}
        self._chance = random.Random(seed)
        self._a_day = a_day
        self._waiting: list[tuple[int, int, bool, int]] = []

    def live(self, day: int) -> Quality:
        """Let a day happen; return what is known at its end."""
        chance, bucket = self._chance, self.buckets.setdefault(day, Bucket())
        for _ in range(self._a_day):
            at_ms = day * DAY_MS + chance.randrange(DAY_MS)
            delay_ms = int(chance.expovariate(1 / MEAN_DAYS) * DAY_MS)
            is_true = chance.random() < RATE and delay_ms < LAYOUT.within_ms
            self.positives[day] = self.positives.get(day, 0) + is_true
            count_prediction(LAYOUT, bucket, release="", vector=[], learners=["m"])
            # Negatives are declared when the horizon is passed, in steps, as the join does it.
            expires_ms = ((at_ms + LAYOUT.within_ms) // STEP_MS + 1) * STEP_MS
            heapq.heappush(self._waiting, (at_ms + delay_ms if is_true else expires_ms, at_ms, is_true, delay_ms))
        now_ms = (day + 1) * DAY_MS
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, at_ms, is_true, delay_ms = heapq.heappop(self._waiting)
            took_ms = delay_ms if is_true else LAYOUT.within_ms
            of = self.buckets[LAYOUT.bucket(at_ms)]
            count_example(LAYOUT, of, release="", vector=[], scores={"m": RATE}, label=is_true, delay_ms=took_ms)
        return Quality(LAYOUT, self.buckets, Clock(now_ms - 1, now_ms - 1, now_ms // STEP_MS * STEP_MS))


def main() -> None:
    """Live through the days and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--a-day", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stream = Stream(options.seed, options.a_day)
    worst = {window: dict.fromkeys(("reported", "labels_so_far", "missing_as_negative"), 0.0) for window in WINDOWS}
    first = None
    for day in range(options.days):
        quality = stream.live(day)
        for window in WINDOWS:
            told = quality.told("m", quality.newest(window))
            if told is None or told.corrected is None or told.corrected.positives_ratio is None:
                continue
            first = day if first is None else first
            days = range(max(0, day - window + 1), day + 1)
            truth = sum(stream.positives[each] for each in days) / (options.a_day * len(days))
            so_far = told.measures.positives_ratio or 0.0
            shares = {
                "reported": told.corrected.positives_ratio,
                "labels_so_far": so_far,
                "missing_as_negative": so_far * told.matured / told.predicted,
            }
            for name, share in shares.items():
                worst[window][name] = max(worst[window][name], abs(share - truth))
    answer = {
        f"last_{window}_days": {name: round(each, 5) for name, each in worst[window].items()} for window in WINDOWS
    }
    passed = first is not None and all(worst[window]["reported"] <= TOLERANCE for window in WINDOWS)
    sys.stdout.write(json.dumps({"first_day": first, "worst_error": answer, "passed": passed}) + "\n")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
