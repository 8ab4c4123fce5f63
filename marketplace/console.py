"""The catalogue on one web page that keeps itself up to date: filter, read, and see which features are used.

The page calls ``read`` every two seconds and draws what it returns; it keeps nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from definitions.errors import HeadraceError
from marketplace.catalogue import Entry, Filter

REFRESH_S = 2.0

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("name", "feature"),
    ("recipe", "what it is"),
    ("type", "type"),
    ("entity", "entity"),
    ("owner", "owner"),
    ("models", "read by"),
    ("reads_per_min", "reads / min"),
    ("n", "served"),
    ("missing", "missing"),
    ("mean", "mean or top"),
    ("range", "range"),
)


@dataclass(slots=True)
class _Wanted:
    """What the visitor typed, bound to the page's fields."""

    text: str = ""
    type: str = ""
    entity: str = ""
    owner: str = ""
    model: str = ""
    only_read: bool = False

    def filter(self) -> Filter:
        return Filter(
            self.text,
            self.type or "",
            self.entity or "",
            self.owner or "",
            self.model or "",
            min_reads_per_min=0.001 if self.only_read else None,
        )


def page(title: str, declared: Sequence[Entry], read: Callable[[], Sequence[Entry]]) -> Callable[[], None]:
    """Return the function that builds the page, for `ui.run` or a test.

    Args:
        title: the app's name.
        declared: the catalogue before anything is measured: what the filters offer.
        read: returns the catalogue as it is now; called at every refresh. What it raises is shown above the last
            figures, which stay.
    """

    def build() -> None:
        wanted = _Wanted()
        ui.page_title(f"{title} · features")
        ui.label(f"{title}: feature catalogue").classes("text-2xl")
        table = ui.table(columns=_columns(), rows=[], row_key="name", pagination=50).classes("w-full")
        status = ui.label().mark("status")

        def refresh() -> None:
            try:
                entries = read()
            except HeadraceError as error:
                status.text = f"not up to date: {error}"
                return
            kept = [entry for entry in entries if wanted.filter().keeps(entry)]
            table.rows = [row(entry) for entry in kept]
            reads = sum(entry.reads_per_min for entry in entries)
            status.text = f"{len(kept)} of {len(entries)} features, {reads:.0f} reads per minute"

        with ui.row() as filters:
            _fields(wanted, declared, refresh)
        filters.move(target_index=1)
        ui.timer(REFRESH_S, refresh)
        refresh()

    return build


def serve(title: str, declared: Sequence[Entry], read: Callable[[], Sequence[Entry]], *, host: str, port: int) -> None:
    """Serve the page until interrupted; the arguments are those of `page`."""
    ui.run(page(title, declared, read), host=host, port=port, title=title, reload=False, show=False)


def row(entry: Entry) -> dict[str, Any]:
    """Return what the table shows of one feature."""
    served = entry.served
    return {
        "name": entry.name,
        "recipe": entry.recipe,
        "type": entry.type,
        "entity": entry.entity,
        "owner": entry.owner,
        "models": ", ".join(entry.models),
        "reads_per_min": round(entry.reads_per_min, 1),
        "n": served.n if served else 0,
        "missing": "" if served is None or served.missing_ratio is None else f"{served.missing_ratio:.1%}",
        "mean": served.centre if served else "",
        "range": "" if served is None or served.minimum is None else f"{served.minimum:.4g} to {served.maximum:.4g}",
    }


def _fields(wanted: _Wanted, declared: Sequence[Entry], refresh: Callable[[], None]) -> None:
    choices: Mapping[str, list[str]] = {
        "type": sorted({entry.type for entry in declared}),
        "entity": sorted({entry.entity for entry in declared}),
        "owner": sorted({entry.owner for entry in declared}),
        "model": sorted({model for entry in declared for model in entry.models}),
    }
    ui.input("search", on_change=refresh).bind_value(wanted, "text").mark("search")
    for name, values in choices.items():
        options = {"": "any", **{value: value for value in values if value}}
        ui.select(options, label=name, value="", on_change=refresh).bind_value(wanted, name).classes("w-40").mark(name)
    ui.checkbox("only what is read", on_change=refresh).bind_value(wanted, "only_read")


def _columns() -> list[dict[str, Any]]:
    return [{"name": key, "label": label, "field": key, "sortable": True, "align": "left"} for key, label in _COLUMNS]
