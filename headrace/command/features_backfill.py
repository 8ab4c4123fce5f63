"""``headrace features backfill VIEW``: builds a view's version from the topic, beside what is live."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from batch.backfill_view import CLOSE_RECORDS, Backfill, Place
from headrace.command.bars import bars
from headrace.command.options import AsJson
from headrace.command.past import open_past
from headrace.command.voice import Voice

_TAKEN_UP_S = 10.0
"""How long running workers, who look once a second, are given to take the view up."""
_LOOK_S = 0.25


def backfill_command(
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    version: Annotated[int | None, typer.Option(help="Which version; default: the newest.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Build a view that waits because its events were read before it was declared.

    From the oldest record that the log still has, by the engine that serves, while everything else goes on; killed
    and started again, it goes on where it was. Near the present, running features roles take the view up by themselves.
    """
    voice = Voice(as_json)
    with open_past(context) as past:
        definition = past.app.view(view, version)
        backfill = Backfill(definition, past.history, past.store, schemas=past.schemas)
        began_s = time.monotonic()
        with bars() as tell:
            places = backfill.run(tell)
        seconds = time.monotonic() - began_s
        rate = backfill.records / seconds if seconds else 0.0
        voice.say(f"{definition.key}: {backfill.records} records applied in {seconds:.1f} s, {rate:,.0f} a second")
        is_taken_up = _wait(backfill, places)
    voice.say("features roles have taken it up" if is_taken_up else "features roles take it up when they run with it")
    voice.answer(
        {
            "view": view,
            "version": definition.version,
            "started": backfill.created,
            "partitions": len(places),
            "records": backfill.records,
            "seconds": round(seconds, 3),
            "events_per_s": round(rate, 1),
            "taken_up": is_taken_up,
        }
    )


def _wait(backfill: Backfill, left: Sequence[Place]) -> bool:
    """Return whether others keep every row soon; one that nobody keeps is brought near again meanwhile."""
    until_s = time.monotonic() + _TAKEN_UP_S
    while True:
        places = backfill.places()
        pairs = list(zip(left, places, strict=True))
        if all(now.stored.mark != before.stored.mark for before, now in pairs if now.intake is not None):
            return True
        if time.monotonic() >= until_s:
            return False
        if any(place.behind > CLOSE_RECORDS for place in places):
            left = backfill.run()
        time.sleep(_LOOK_S)
