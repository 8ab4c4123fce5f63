"""What the demo found, for people and for programs: a few lines, and ``.headrace/demo.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from examples.flights.app import LATE_MIN
from examples.flights.driver import Play, online_learner
from examples.flights.measure import TALLIES
from streams.request_reply import Status


async def summary_of(play: Play) -> dict[str, Any]:
    """Return the figures of a finished play, all read from the running system; how long it took comes beside."""
    session, observer, replies = play.stage.session, play.observer, play.replies
    model = session.app.model("late")
    rows = observer.rows()
    partitions = [each for event in session.app.events for each in await session.log.partitions(event.topic)]
    published = sum(end - first for first, end in await session.log.bounds(partitions))
    judged = observer.judged
    substrate = play.stage.substrate
    return {
        "substrate": {
            "log": "in-process" if substrate.kafka is None else "kafka",
            "store": "memory" if substrate.redis is None else "redis",
        },
        "events": {
            "published": published,
            "decoded": rows["intake"]["applied"],
            "dead_letters": rows["intake"]["dead"],
        },
        "views": {view.name: {tally: rows[view.name][tally] for tally in TALLIES} for view in session.app.views},
        "requests": sum(replies.statuses.values()),
        "replies": {str(status): replies.statuses[status] for status in Status},
        "unanswered": replies.unanswered,
        "latency_ms": {"p50": round(replies.percentile_ms(50), 3), "p99": round(replies.percentile_ms(99), 3)},
        "labels_matched": observer.labels_matched(),
        "examples_learned": observer.examples_learned(online_learner(model)),
        "auc": {
            **{learner: _rounded(judged.auc(learner)) for learner in sorted(model.learners, reverse=True)},
            "best_single_feature": round(observer.judged.best_single(observer.number_names)[1], 4),
        },
        "positives_ratio": round(judged.positives_ratio(), 4),
        "verdicts": {
            day: {
                "verdict": str(each.health.verdict),
                "n": each.health.n,
                "psi": round(each.health.psi, 4),
                "total_variation": round(each.health.total_variation, 4),
            }
            for day, each in sorted(observer.days.items())
        },
        "alerts": len(observer.incidents),
    }


def write(summary: Mapping[str, Any], file: Path) -> None:
    """Write the figures as indented JSON, all or nothing."""
    unfinished = file.with_suffix(".new")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    unfinished.replace(file)


def lines_of(summary: Mapping[str, Any], play: Play) -> list[str]:
    """Return the figures as people read them."""
    events, auc, latency = summary["events"], summary["auc"], summary["latency_ms"]
    statuses = ", ".join(f"{status} {count:,}" for status, count in summary["replies"].items() if count)
    best, _ = play.observer.judged.best_single(play.observer.number_names)
    events_line = (
        f"{events['published']:,} events published = {events['decoded']:,} decoded + "
        f"{events['dead_letters']} dead letters"
    )
    requests_line = (
        f"{summary['requests']:,} requests: {statuses}; {summary['unanswered']} unanswered; "
        f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"
    )
    labels_line = (
        f"{summary['labels_matched']:,} labels matched, {summary['examples_learned']:,} examples learned, "
        f"{summary['positives_ratio']:.1%} of them more than {LATE_MIN} min late"
    )
    auc_line = (
        f"AUC: offline {auc['offline']}, online {auc['online']}, "
        f"best single feature {auc['best_single_feature']} ({best})"
    )
    return [
        events_line,
        *(_view_line(name, tallies) for name, tallies in summary["views"].items()),
        requests_line,
        labels_line,
        auc_line,
        f"{summary['alerts']} incidents opened:",
        *(f"  {alert.state}: {alert.message}" for alert in play.observer.alerts),
        f"{summary['wall_s']} s in all",
    ]


def _view_line(name: str, tallies: Mapping[str, int]) -> str:
    parts = [f"{count:,} {tally.replace('_', ' ')}" for tally, count in tallies.items() if count and tally != "read"]
    return f"  {name}: {tallies['read']:,} read = {' + '.join(parts)}"


def _rounded(auc: float | None) -> float | None:
    return None if auc is None else round(auc, 4)
