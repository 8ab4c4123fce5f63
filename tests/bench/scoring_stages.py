"""What scoring is put through, one function a stage: each returns figures for the benchmark's line."""

from __future__ import annotations

import math
import random
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from online_models import releases
from streams import topics
from streams.messages import Outcome, Prediction
from tests.bench.asking import Asked, Callers, Stage
from tests.bench.bench_echo import Client
from tests.bench.flood import Flood, Flooded
from tests.bench.hops import budget, records
from tests.bench.local_kafka import say
from tests.bench.processes import cpu_s
from tests.bench.scored_project import CHAMPION, MODEL, Scored
from tests.bench.timing import percentiles, without_collections

LIMIT_MS = 50.0
FLOOD_TIMEOUT_MS = 1_000
OVERLOAD = 3
NORMAL_AFTER_S = 5.0

_ROUNDS = 6
_GROWTH = 1.3
_BISECTIONS = 4
_LEAST_RATE = 100.0
_BEHIND_MS = 100.0
_RESAMPLED = 2_000


def steady(made: Scored, asking: Callers, floor: Client, role_pid: int, *, rate: int, seconds: float) -> dict[str, Any]:
    """Ask at a rate, in rounds that alternate with the floor's; return percentiles, their ratio, and the hops."""
    each_s = seconds / _ROUNDS
    ours: list[Asked] = []
    bare: list[float] = []
    used_s = 0.0
    asking.ask(Stage(rate=rate, seconds=2))
    for round_ in range(_ROUNDS):
        with without_collections():
            bare += floor.run(rate, each_s / 2)
        begun_s = cpu_s(role_pid)
        ours.append(asking.ask(Stage(rate=rate, seconds=each_s)))
        used_s += cpu_s(role_pid) - begun_s
        say(f"round {round_ + 1}/{_ROUNDS}: floor {statistics.median(bare):.2f}, ours {_line(ours[-1])}")
    asked = together(ours)
    found, floor_found = percentiles("scoring", asked.latencies_ms), percentiles("floor", bare)
    return {
        "rate": rate,
        "p50_ms": found["scoring_p50_ms"],
        "p99_ms": found["scoring_p99_ms"],
        **floor_found,
        "p50_ratio": round(found["scoring_p50_ms"] / floor_found["floor_p50_ms"], 3),
        "requests": len(asked.told),
        "unanswered": asked.unanswered,
        "replies": dict(asked.by_status),
        "late_replies": asked.late_replies,
        "scoring_cpu_us": round(used_s / len(asked.told) * 1e6, 1),
        **budget(made.kafka, made.name, MODEL, asked),
    }


def highest_rate(flood: Flood, *, seconds: float, first: float = 500.0) -> dict[str, Any]:
    """Return the highest rate with p99 of all requests below 50 ms: steps of 30 % until one fails, then bisected."""
    tried: dict[float, float] = {}

    def holds(rate: float) -> bool:
        found = flood.ask(rate, seconds, FLOOD_TIMEOUT_MS)
        p99_ms = percentiles("", found.latencies_ms())["_p99_ms"]
        tried[rate] = p99_ms
        say(f"{rate:,.0f}/s: p99 {p99_ms:.1f} ms, {dict(found.by_status)}, sender behind {found.behind_ms:.1f} ms")
        return p99_ms <= LIMIT_MS and found.per_s("ok") >= 0.99 * rate and found.behind_ms <= _BEHIND_MS

    good, bad, rate = 0.0, math.inf, first
    while rate >= _LEAST_RATE and (not good or bad == math.inf):
        if holds(rate):
            good, rate = rate, rate * _GROWTH
        else:
            bad, rate = rate, rate / _GROWTH
    for _ in range(_BISECTIONS if good else 0):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return {"max_rate_p99_50ms": round(good), "ramp": {round(rate): p99 for rate, p99 in tried.items()}}


def overload(flood: Flood, capacity: float, *, seconds: float) -> dict[str, Any]:
    """Ask three times the capacity, then half of it; return what was answered, and when it was normal again."""
    normal = flood.ask(capacity / 2, max(5.0, seconds / 6), FLOOD_TIMEOUT_MS)
    normal_p99_ms = percentiles("", normal.latencies_ms())["_p99_ms"]
    flooded = flood.ask(capacity * OVERLOAD, seconds, FLOOD_TIMEOUT_MS)
    # `ask` has waited a budget and a second: what follows begins that long after the last request of the overload.
    after = flood.ask(capacity / 2, 2 * NORMAL_AFTER_S, FLOOD_TIMEOUT_MS)
    accepted = flooded.latencies_ms("ok", "degraded")
    say(f"overload: {dict(flooded.by_status)}, sender behind {flooded.behind_ms:.0f} ms")
    return {
        "overload_rate": round(capacity * OVERLOAD),
        "overload_goodput_share": round(flooded.per_s("ok") / capacity, 3),
        "overload_replies": dict(flooded.by_status),
        "overload_requests": len(flooded.status),
        "overload_second_replies": max(0, flooded.replies - len(flooded.status)),
        "overload_accepted_p99_ms": percentiles("", accepted)["_p99_ms"] if len(accepted) > 1 else None,
        "overload_deadline_ms": FLOOD_TIMEOUT_MS,
        "overload_sender_behind_ms": round(flooded.behind_ms, 1),
        "overload_normal_p99_ms": normal_p99_ms,
        "overload_normal_again_s": normal_again_s(flooded, after, max(LIMIT_MS, 2 * normal_p99_ms)),
    }


def normal_again_s(flooded: Flooded, after: Flooded, limit_ms: float) -> float | None:
    """Return how long after the overload's last request a second of requests has a p99 below the limit."""
    per_second = max(2, round(after.rate))
    latencies_ms = after.latencies_ms()
    for first in range(0, len(latencies_ms) - per_second + 1, per_second // 2):
        part = latencies_ms[first : first + per_second]
        if percentiles("", part)["_p99_ms"] <= limit_ms:
            return round(after.due_s[first] - flooded.due_s[-1], 1)
    return None


def hot_swap(made: Scored, asking: Callers, trained: Sequence[str], *, rate: int, seconds: float) -> dict[str, Any]:
    """Swap the release in force each second; return what failed, what was mixed, and p99 against no swaps.

    A reply is mixed if it names other than one champion of one release. What was scored is scored again from its
    logged vector by the release that its prediction names: anything but the same score is mixed too.
    """
    normal = asking.ask(Stage(rate=rate, seconds=max(5.0, seconds / 4)))
    turns = [trained[turn % 2] for turn in range(round(seconds) + 1)]
    swapping = threading.Thread(target=made.deploy, args=(turns,), kwargs={"every_s": 1.0})
    swapping.start()
    swapped = asking.ask(Stage(rate=rate, seconds=seconds))
    swapping.join()
    loaded = {each: releases.load(each, made.artefacts.get, made.model) for each in set(trained)}
    champions = {release.manifest.artefacts[CHAMPION].digest[:12]: each for each, release in loaded.items()}
    named = [[digest for role, digest in each.versions if role == "champion"] for each in swapped.told]
    mixed = sum(len(each) != 1 or each[0] not in champions for each in named if each)
    checked, wrong = _scored_again(made, loaded, {each.request_id for each in swapped.told})
    p99_ms, normal_p99_ms = (percentiles("", each.latencies_ms)["_p99_ms"] for each in (swapped, normal))
    return {
        "swap_rate": rate,
        "swaps": len(turns),
        "swap_requests": len(swapped.told),
        "swap_failed": len(swapped.told) - swapped.by_status.get("ok", 0),
        "swap_mixed": mixed + wrong,
        "swap_scored_again": checked,
        "swap_releases_seen": len({each[0] for each in named if each}),
        "swap_p99_ms": p99_ms,
        "swap_p99_ratio": round(p99_ms / normal_p99_ms, 3),
    }


def _scored_again(made: Scored, loaded: Mapping[str, releases.Release], asked: set[str]) -> tuple[int, int]:
    """Return how many logged predictions were scored again, and how many had another score or another version."""
    decode = msgspec.json.Decoder(Outcome).decode
    found: dict[str, list[Prediction]] = {each: [] for each in loaded}
    for record in records(made.kafka, topics.outcomes(made.name, made.model)):
        prediction = decode(record.value() or b"")
        if isinstance(prediction, Prediction) and prediction.request_id in asked:
            found[prediction.release].append(prediction)
    wrong = 0
    for release, predictions in found.items():
        digest = loaded[release].manifest.artefacts[CHAMPION].digest[:12]
        scores = loaded[release].scorers[CHAMPION].score_many([each.vector for each in predictions])
        for prediction, score in zip(predictions, scores, strict=True):
            named = [each.digest for each in prediction.versions if each.role == "champion"]
            wrong += named != [digest] or prediction.scores[CHAMPION] != score
    return sum(map(len, found.values())), wrong


def paired(made: Scored, asking: Callers, release: str, role_pid: int, *, stage: Stage, pairs: int) -> dict[str, Any]:
    """Return what the shadow and the prediction log cost: the stage with and without, in turns.

    The role is `tests.bench.quiet_role`: it logs nothing while the release in force has no shadow.
    """
    cost: dict[bool, list[float]] = {True: [], False: []}
    p50: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(pairs):
        for full in (True, False) if pair % 2 else (False, True):
            made.deploy([release], shadow=full, every_s=1.0)
            asking.ask(Stage(rate=stage.rate, seconds=0.5))
            begun_s = cpu_s(role_pid)
            asked = asking.ask(stage)
            cost[full].append((cpu_s(role_pid) - begun_s) / len(asked.told) * 1e6)
            p50[full].append(statistics.median(asked.latencies_ms))
        say(f"pair {pair + 1}/{pairs}: {cost[True][-1]:.0f} and {cost[False][-1]:.0f} us of CPU a request")
    made.deploy([release])
    more = [math.log(full / bare) for full, bare in zip(cost[True], cost[False], strict=True)]
    slower = [full - bare for full, bare in zip(p50[True], p50[False], strict=True)]
    low, high = interval(slower)
    return {
        "observing_pairs": pairs,
        "observing_cpu_us": round(statistics.median(cost[True]), 1),
        "bare_cpu_us": round(statistics.median(cost[False]), 1),
        "observing_cpu_share": round(math.exp(statistics.fmean(more)) - 1, 3),
        "observing_p50_ms_more": round(statistics.fmean(slower), 3),
        "observing_p50_ms_interval": [round(low, 3), round(high, 3)],
    }


def interval(differences: Sequence[float], *, seed: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences, by bootstrap."""
    chance = random.Random(seed)
    means = sorted(statistics.fmean(chance.choices(differences, k=len(differences))) for _ in range(_RESAMPLED))
    return means[round(0.025 * _RESAMPLED)], means[round(0.975 * _RESAMPLED) - 1]


def together(rounds: Sequence[Asked]) -> Asked:
    """Return several stages as one."""
    return Asked(
        latencies_ms=[each for asked in rounds for each in asked.latencies_ms],
        told=[each for asked in rounds for each in asked.told],
        unanswered=sum(asked.unanswered for asked in rounds),
        late_replies=sum(asked.late_replies for asked in rounds),
        took_s=sum(asked.took_s for asked in rounds),
    )


def _line(asked: Asked) -> str:
    found = percentiles("", asked.latencies_ms, digits=2)
    return f"p50 {found['_p50_ms']} p99 {found['_p99_ms']} ms, {dict(asked.by_status)}"
