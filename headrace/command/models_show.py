"""``headrace models show MODEL``: how well each learner does as served, by prediction time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agents.read_quality import FADED, QualityRead, read_quality
from agents.read_search import read_searches
from definitions.declared import ModelDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_session
from online_models.quality.buckets import ALL, DAY_MS
from online_models.quality.measures import Measures
from online_models.quality.report import FINAL, PROVISIONAL, WINDOW, Quality, Told
from online_models.searching import Standing

_WIDTH = 140
_SPARKS = "▁▂▃▄▅▆▇█"
_TREND = 30
_ATTEMPTS, _PAUSE_S = 30, 0.1
_SHOWN = ("log_loss", "auc", "brier", "calibration_error", "rmse", "mae")
_SHORT = {"log_loss": "log loss", "calibration_error": "ECE", "auc": "AUC", "rmse": "RMSE", "mae": "MAE"}


def show_command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: late.")],
    window: Annotated[int, typer.Option(min=1, help="So many buckets (days, or hours) of prediction time.")] = WINDOW,
    *,
    slices: Annotated[bool, typer.Option("--slices", help="Segments and releases too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how well each learner does as served, by the time of prediction.

    ``final``: every prediction has met its label or its horizon has passed. ``provisional``: the newest ones, where
    quick labels are over-represented; measures are corrected for that where it is known how long labels take, and
    marked ~ then. ``faded``: all that is kept, counting half after seven buckets.
    """
    voice = Voice(as_json)
    declared, found, searches = asyncio.run(_found(context, model, window))
    if found is None:
        raise UsageError(f"cannot show {declared.key}: expected a model with a label, got none to measure it by")
    names = found.quality.slices if slices else [ALL]
    Console(stderr=as_json, width=_WIDTH).print(_table(found.quality, names, window))
    sys.stdout.flush()
    if not found.quality.learners:
        voice.say(f"{declared.key}: nothing was predicted yet, or no monitoring role is running")
    if found.behind:
        voice.say(f"{found.behind} examples are not counted yet: until they are, nothing is final")
    for name, standing in searches.items():
        voice.say(search_line(name, standing, declared.route.champion))
    voice.answer(
        {
            "model": declared.key,
            "champion": declared.route.champion,
            "behind": found.behind,
            "bucket_ms": found.quality.layout.width_ms,
            "learners": {each: _learner(found.quality, each, names, window) for each in found.quality.learners},
            "searches": {
                name: {**asdict(each), "is_over": each.is_over, "work_ratio": each.work_ratio}
                for name, each in searches.items()
            },
        }
    )


def search_line(learner: str, standing: Standing, champion: str) -> str:
    """Return how far a search has come, and what it proposes once it is over."""
    setting = ", ".join(f"{name}={value!r}" for name, value in standing.leader.items())
    cost = f"{standing.work_ratio:.0%} of the work of all {standing.settings}"
    if not standing.is_over:
        return f"{learner}: {standing.alive} of {standing.settings} settings left, {setting} leads; {cost}"
    proposal = "" if learner == champion else f"; proposed as challenger of {champion}: `headrace deploy` decides"
    return f"{learner}: {setting} won among {standing.settings} settings after {cost}{proposal}"


async def _found(
    context: typer.Context, name: str, window: int
) -> tuple[ModelDefinition, QualityRead | None, Mapping[str, Standing]]:
    """Read until what is counted has caught up with what the join has made, or for three seconds."""
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        model = session.app.model(name)
        found = await read_quality(session.store, session.log, session.namespace, model, window=window)
        for _ in range(_ATTEMPTS):
            if found is None or not found.behind:
                break
            await asyncio.sleep(_PAUSE_S)
            found = await read_quality(session.store, session.log, session.namespace, model, window=window)
        return model, found, read_searches(session.store, session.artefacts, model)


def _learner(quality: Quality, learner: str, names: list[str], window: int) -> dict[str, Any]:
    return {
        "slices": {name or "all": _slice(quality, learner, name, window) for name in names},
        "trend": [_told(quality, told) for told in _trend(quality, learner, window)],
    }


def _slice(quality: Quality, learner: str, name: str, window: int) -> dict[str, Any]:
    return {
        FINAL: _told(quality, quality.told(learner, quality.final(window), name)),
        PROVISIONAL: _told(quality, quality.told(learner, quality.newest(window), name)),
        FADED: _measures(quality.faded(learner, name)),
    }


def _told(quality: Quality, told: Told | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {
        "from_ms": told.first * quality.layout.width_ms,
        "to_ms": (told.last + 1) * quality.layout.width_ms,
        "mark": told.mark,
        "predicted": told.predicted,
        "matured": told.matured,
        "coverage": told.coverage,
        "measures": _measures(told.measures),
        "corrected": None if told.corrected is None else _measures(told.corrected),
    }


def _measures(measures: Measures) -> dict[str, Any]:
    tenths = [{"weight": each.weight, "score": each.score, "rate": each.rate} for each in measures.tenths]
    return {"n": measures.n, **measures.values(), **({"calibration": tenths} if tenths else {})}


def _trend(quality: Quality, learner: str, window: int) -> list[Told]:
    told = [quality.told(learner, [number]) for number in quality.newest(max(window, _TREND))]
    return [each for each in told if each is not None]


def _table(quality: Quality, names: list[str], window: int) -> Table:
    rows = [
        (learner, name, mark, told)
        for learner in quality.learners
        for name in names
        for mark, told in _lines(quality, learner, name, window)
    ]
    shown = [each for each in _SHOWN if any(getattr(told.best, each) is not None for *_, told in rows)]
    table = Table(box=None, pad_edge=False)
    for title in ("learner", "slice", "mark", "predicted from", "to"):
        table.add_column(title, no_wrap=True)
    for title in ("scores", "labels known", *(_SHORT.get(each, each) for each in shown)):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("trend", no_wrap=True)
    for learner, name, mark, told in rows:
        since, until = (_day(quality, each) for each in (told.first, told.last))
        known = "" if told.coverage is None else f"{told.coverage:.1%}"
        sign = "~" if told.corrected is not None else ""
        values = [_number(getattr(told.best, each), sign) for each in shown]
        trend = sparkline(_main(each.best) for each in _trend(quality, learner, window)) if not name else ""
        table.add_row(
            learner, name or "all", mark, since, until, f"{told.predicted:,}", known, *values, trend * (mark == FINAL)
        )
    return table


def _lines(quality: Quality, learner: str, name: str, window: int) -> list[tuple[str, Told]]:
    found = [
        (FINAL, quality.told(learner, quality.final(window), name)),
        (PROVISIONAL, quality.told(learner, quality.newest(window), name)),
    ]
    return [(told.mark, told) for mark, told in found if told is not None and (told.predicted or mark == FINAL)]


def _main(measures: Measures) -> float | None:
    return measures.rmse if measures.rmse is not None else measures.log_loss


def _number(value: float | None, sign: str) -> str:
    return "" if value is None else f"{sign}{value:.4f}"


def _day(quality: Quality, bucket: int) -> str:
    at = datetime.fromtimestamp(bucket * quality.layout.width_ms / 1_000, UTC)
    return f"{at:%Y-%m-%d}" if quality.layout.width_ms >= DAY_MS else f"{at:%Y-%m-%d %H:00}"


def sparkline(values: Iterable[float | None]) -> str:
    """Return a line of bars, one a value, between the least and the greatest of them; a blank where there is none."""
    given = list(values)
    known = [each for each in given if each is not None]
    if not known:
        return ""
    least, spread = min(known), max(known) - min(known)
    last = len(_SPARKS) - 1
    return "".join(
        " " if each is None else _SPARKS[round(last * (each - least) / spread) if spread else 0] for each in given
    )
