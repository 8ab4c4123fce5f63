"""``headrace features compare VIEW --from 1 --to 2``: two versions of a view, entity by entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from batch.compare_views import Comparison, FeatureComparison, compare_views
from headrace.command.bars import bars
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson
from headrace.command.past import open_past
from headrace.command.voice import Voice


def compare_command(  # noqa: PLR0913  # a command's options
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    old: Annotated[int, typer.Option("--from", help="One version.")],
    new: Annotated[int, typer.Option("--to", help="The other.")],
    sample: Annotated[int | None, typer.Option(min=1, help="So many entities; default: all.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Epoch ms or RFC 3339; default: the newest event time.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Compare two versions of a view where both contain the same part of the log. The exit code is 1 if they differ."""
    from headrace.command.features import read_time  # noqa: PLC0415  # it lists this command

    voice = Voice(as_json)
    as_of_ms = None if as_of is None else read_time(as_of)
    with open_past(context) as past, bars() as tell:
        versions = past.app.view(view, old), past.app.view(view, new)
        found = compare_views(*versions, past.store, as_of_ms=as_of_ms, sample=sample, tell=tell)
    for line in _lines(found, old, new):
        voice.say(line)
    voice.answer({"view": view, "from": old, "to": new, **_answer(found)})
    if not found.is_equal:
        raise typer.Exit(FOUND_A_PROBLEM)


def _answer(found: Comparison) -> dict[str, object]:
    return {
        "equal": found.is_equal,
        "entities": found.entities,
        "compared": found.compared,
        "unsettled": len(found.unsettled),
        "features": [
            {
                "name": each.name,
                "compared": each.compared,
                "different": each.different,
                "largest": each.largest,
                "examples": [{"entity": entity, "from": old, "to": new} for entity, old, new in each.examples],
            }
            for each in found.features.values()
        ],
        "only_from": found.only_old,
        "only_to": found.only_new,
    }


def _lines(found: Comparison, old: int, new: int) -> Sequence[str]:
    """Return the finding as people read it."""
    lines = [f"{found.view}: {found.compared} of {found.entities} entities compared"]
    lines += [_line(each) for each in found.features.values()]
    lines += [f"  {name}: only in version {old}" for name in found.only_old]
    lines += [f"  {name}: only in version {new}" for name in found.only_new]
    if found.unsettled:
        lines.append(
            f"{len(found.unsettled)} entities were never found with both versions at equal positions: is a features "
            "role running that keeps both?"
        )
    return lines


def _line(feature: FeatureComparison) -> str:
    if not feature.different:
        return f"  {feature.name}: equal"
    entity, old, new = feature.examples[0]
    by = "" if feature.largest is None else f" by up to {feature.largest:.6g}"
    return f"  {feature.name}: {feature.different} of {feature.compared} differ{by}; {entity}: {old} and {new}"
