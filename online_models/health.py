"""Health: a day's live counts against the baseline, the four verdicts, and an incident's life.

An alarm needs two things (DESIGN 2.9): enough of a shift to matter, on enough predictions to believe it. Here both are
fixed numbers on one event-time day. Everything is a pure function of counts, so a replay gives the same alerts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import msgspec

from online_models.baseline import Baseline, score_signal

SMOOTHING = 0.5


class Verdict(StrEnum):
    """What is known about a model's health. Silence is not health."""

    OK = "ok"
    DRIFTING = "drifting"
    INSUFFICIENT = "insufficient data"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a day counts as drifting: both shifts at least this large, on at least ``least_n`` predictions."""

    least_n: int = 200
    psi: float = 1.0
    total_variation: float = 0.4
    stale_after_days: int = 2


@dataclass(frozen=True, slots=True)
class Judgement:
    """One signal on one day. Without enough predictions the shifts are noise and not to be read."""

    verdict: Verdict
    n: int
    psi: float
    total_variation: float


@dataclass(frozen=True, slots=True)
class DayCounts:
    """All counts of one model's release on one complete event-time day."""

    model: str
    release: str
    champion: str
    day: str
    """ISO date in the model's time zone."""
    counts: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class DriftAlert:
    """What changed with an incident: the fields of the record on the alerts topic, by the same names."""

    fingerprint: str
    incident: str
    state: str
    """``firing`` or ``resolved``."""
    model: str
    release: str
    signal: str
    day: str
    since: str
    n: int
    psi: float
    total_variation: float
    message: str


class HealthState(msgspec.Struct, frozen=True, kw_only=True):
    """What the evaluator remembers of one model: the last day judged, and the incident that is open."""

    release: str
    champion: str
    day: str
    verdict: Verdict
    n: int
    psi: float
    total_variation: float
    since: str | None = None
    """First day of the open incident, None while there is none."""
    opened: int = 0
    """How many incidents this model has had, over all releases."""


def population_stability(baseline: Sequence[int], live: Sequence[int]) -> float:
    """Return the PSI of two rows of counts on the same bins, half a count added to each: never infinite."""
    bins = len(baseline)
    expected_total = sum(baseline) + SMOOTHING * bins
    actual_total = sum(live) + SMOOTHING * bins
    total = 0.0
    for expected_count, actual_count in zip(baseline, live, strict=True):
        expected = (expected_count + SMOOTHING) / expected_total
        actual = (actual_count + SMOOTHING) / actual_total
        total += (actual - expected) * math.log(actual / expected)
    return total


def total_variation(baseline: Sequence[int], live: Sequence[int]) -> float:
    """Return the share of the traffic that would have to move to another bin: 0 equal, 1 nothing in common."""
    expected_total, actual_total = max(1, sum(baseline)), max(1, sum(live))
    pairs = zip(baseline, live, strict=True)
    return sum(abs(actual / actual_total - expected / expected_total) for expected, actual in pairs) / 2


def judge(baseline: Sequence[int], live: Sequence[int], rule: Rule) -> Judgement:
    """Return the verdict on one signal of one complete day."""
    n, psi, moved = sum(live), population_stability(baseline, live), total_variation(baseline, live)
    if n < rule.least_n:
        verdict = Verdict.INSUFFICIENT
    elif psi >= rule.psi and moved >= rule.total_variation:
        verdict = Verdict.DRIFTING
    else:
        verdict = Verdict.OK
    return Judgement(verdict, n, psi, moved)


def advance(
    state: HealthState | None, day: DayCounts, baseline: Baseline, rule: Rule
) -> tuple[HealthState, tuple[DriftAlert, ...]]:
    """Fold one complete day of counts; return what to remember and which alerts to send.

    A drifting day opens an incident if none is open; the next ordinary day resolves it; a day with too few predictions
    does neither. A day that is not after the last one judged changes nothing: late counts are shown, never tested
    again. Another release resolves what was open under the one before.
    """
    if state is not None and state.release == day.release and day.day <= state.day:
        return state, ()
    alerts: list[DriftAlert] = []
    if state is not None and state.release != day.release:
        if state.since is not None:
            alerts.append(_superseded(state, day))
        state = msgspec.structs.replace(state, since=None)
    signal = score_signal(day.champion)
    bins = baseline.signals[signal]
    judged = judge(bins.counts, day.counts.get(signal, [0] * bins.size), rule)
    since, opened = (None, 0) if state is None else (state.since, state.opened)
    if judged.verdict is Verdict.DRIFTING and since is None:
        since, opened = day.day, opened + 1
        alerts.append(_alert("firing", day, since, judged, _firing_text(day, baseline, judged, rule)))
    elif judged.verdict is Verdict.OK and since is not None:
        alerts.append(_alert("resolved", day, since, judged, _resolved_text(day, since, judged)))
        since = None
    return _remember(day, judged, since, opened), tuple(alerts)


def in_force(state: HealthState | None, today: str, rule: Rule) -> Verdict:
    """Return the verdict that holds on ``today``: a judgement too old to speak for it is stale."""
    if state is None:
        return Verdict.INSUFFICIENT
    age = date.fromisoformat(today) - date.fromisoformat(state.day)
    return Verdict.STALE if age.days > rule.stale_after_days else state.verdict


def most_moved(baseline: Baseline, counts: Mapping[str, Sequence[int]], *, at_most: int = 3) -> list[tuple[str, float]]:
    """Return the features whose distribution moved most, with their total variation, largest first."""
    moved = [
        (signal.removeprefix("feature:"), total_variation(bins.counts, counts[signal]))
        for signal, bins in baseline.signals.items()
        if signal.startswith("feature:") and sum(counts.get(signal, ())) > 0
    ]
    return sorted(moved, key=lambda each: (-each[1], each[0]))[:at_most]


def _remember(day: DayCounts, judged: Judgement, since: str | None, opened: int) -> HealthState:
    return HealthState(
        release=day.release,
        champion=day.champion,
        day=day.day,
        verdict=judged.verdict,
        n=judged.n,
        psi=judged.psi,
        total_variation=judged.total_variation,
        since=since,
        opened=opened,
    )


def _alert(state: str, day: DayCounts, since: str, judged: Judgement, message: str) -> DriftAlert:
    signal = score_signal(day.champion)
    fingerprint = hashlib.sha256(f"{day.model}\n{day.release}\n{signal}".encode()).hexdigest()[:16]
    return DriftAlert(
        fingerprint=fingerprint,
        incident=f"{fingerprint}.{since}",
        state=state,
        model=day.model,
        release=day.release,
        signal=signal,
        day=day.day,
        since=since,
        n=judged.n,
        psi=round(judged.psi, 4),
        total_variation=round(judged.total_variation, 4),
        message=message,
    )


def _superseded(state: HealthState, day: DayCounts) -> DriftAlert:
    before = DayCounts(day.model, state.release, state.champion, state.day, {})
    judged = Judgement(state.verdict, state.n, state.psi, state.total_variation)
    message = f"{day.model}: the release that drifted since {state.since} was replaced by {day.release[:12]}"
    return _alert("resolved", before, state.since or state.day, judged, message)


def _firing_text(day: DayCounts, baseline: Baseline, judged: Judgement, rule: Rule) -> str:
    moved = ", ".join(f"{name} ({share:.2f})" for name, share in most_moved(baseline, day.counts))
    return (
        f"{day.model}: scores of {day.champion} drifted on {day.day}: PSI {judged.psi:.2f} (limit {rule.psi:g}), "
        f"total variation {judged.total_variation:.2f} (limit {rule.total_variation:g}), {judged.n} predictions; "
        f"inputs that moved most: {moved or 'not counted'}; look at them first, retrain if the change stays"
    )


def _resolved_text(day: DayCounts, since: str, judged: Judgement) -> str:
    return (
        f"{day.model}: scores of {day.champion} are ordinary again on {day.day}, drifted since {since}: "
        f"PSI {judged.psi:.2f}, total variation {judged.total_variation:.2f}, {judged.n} predictions"
    )
