"""``headrace models pending MODEL``: what a model's predictions have become, and which wait for their label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from definitions.declared import ModelDefinition
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_store
from streams.joins import JoinRule, Tally
from streams.joins.pending import PartitionPending, read_pending

_MS_A_MINUTE = 60_000


def pending_command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: late.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what predictions and labels have become, by outcomes partition, and what waits.

    What waits is counted in the store and held against the join's own tally. The exit code is 1 where predictions are
    not exactly matched + timed out + pending. May run beside the roles.
    """
    settings = settings_of(context)
    app = load_definitions(settings)
    definition = app.model(model)
    if definition.label is None:
        raise UsageError(f"cannot show what is pending: {definition.key}: expected a model with a label, got none")
    store = open_store(existing(settings, Path.cwd()), settings.namespace_of(app.name))
    try:
        found = read_pending(store, definition.key)
    finally:
        store.close()
    voice = Voice(as_json)
    for line in lines_of(definition, found):
        voice.say(line)
    voice.answer(answer_of(definition, found))
    if any(each.problem for each in found):
        raise typer.Exit(FOUND_A_PROBLEM)


def answer_of(model: ModelDefinition, found: Sequence[PartitionPending]) -> dict[str, Any]:
    """Return the command's JSON object."""
    problems = [each.problem for each in found if each.problem is not None]
    total = sum_of(found)
    return {
        "model": model.key,
        **_tally(total),
        "oldest_pending_ms": max(
            (each.oldest_age_ms for each in found if each.oldest_age_ms is not None), default=None
        ),
        "reconciles": not problems,
        "problems": problems,
        "partitions": [_partition(model, each) for each in found],
    }


def lines_of(model: ModelDefinition, found: Sequence[PartitionPending]) -> list[str]:
    """Return the finding as people read it."""
    if not found:
        return [f"{model.key}: nothing joined yet; is a learning role running?"]
    lines = [f"{model.key}: {_sum_line(total := sum_of(found))}", f"labels: {_label_line(total)}"]
    for each in found:
        age = "none" if each.oldest_age_ms is None else f"{each.oldest_age_ms / _MS_A_MINUTE:.1f} min old"
        counted = "moving while it was counted" if each.counted is None else f"counted {each.counted}"
        held = each.held_by or ("all label partitions idle" if each.clock.newest_ms else "no label yet")
        lines.append(
            f"  partition {_index(each)}: {each.tally.pending} pending ({counted}), oldest {age}; horizon by {held}"
        )
    return [*lines, *(each.problem for each in found if each.problem is not None)]


def _sum_line(total: Tally) -> str:
    dropped = total.timed_out - total.given
    return (
        f"{total.predictions} predictions = {total.matched} matched + {total.timed_out} timed out "
        f"({total.given} given the declared label, {dropped} dropped) + {total.pending} pending"
    )


def _label_line(total: Tally) -> str:
    return (
        f"{total.labels} taken, {total.early} of them early, {total.revised} revisions; "
        f"{total.label_late + total.label_too_late} after the horizon, {total.unknown} for unknown predictions; "
        f"copies: {total.duplicate - total.label_duplicate} of predictions, {total.label_duplicate} of labels"
    )


def sum_of(found: Sequence[PartitionPending]) -> Tally:
    """Return the tallies of all partitions together."""
    total = Tally()
    for each in found:
        total = total.plus(each.tally)
    return total


def _partition(model: ModelDefinition, each: PartitionPending) -> dict[str, Any]:
    rule = None if model.label is None else JoinRule.of(model.key, model.label)
    return {
        "partition": _index(each),
        **_tally(each.tally),
        "counted": each.counted,
        "keys": each.keys,
        "oldest_pending_ms": each.oldest_age_ms,
        "newest_ms": each.newest_ms,
        "passed_ms": None if rule is None or not each.clock.passed else each.passed_ms(rule),
        "held_by": each.held_by,
        "idle": len(each.clock.idle),
        "no_key": each.row.no_entity,
        "dead": each.row.dead,
        "reconciles": each.problem is None,
    }


def _tally(tally: Tally) -> dict[str, Any]:
    told = msgspec.structs.asdict(tally)
    duplicate, labels_twice = told.pop("duplicate"), told.pop("label_duplicate")
    return {
        **told,
        "dropped": tally.timed_out - tally.given,
        "after_horizon": tally.label_late + tally.label_too_late,
        "duplicates": {"predictions": duplicate - labels_twice, "labels": labels_twice},
    }


def _index(each: PartitionPending) -> int:
    return int(each.partition.rpartition("/")[2])
