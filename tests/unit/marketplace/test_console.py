"""The web page shows the catalogue and keeps up with it."""

from __future__ import annotations

from dataclasses import replace

from nicegui import ui
from nicegui.testing.user_simulation import user_simulation

from definitions.errors import HeadraceError
from marketplace.catalogue import Entry, Served
from marketplace.console import page

DELAY = Entry(
    name="origin_traffic.delay_1h",
    type="float",
    entity="origin",
    owner="ops-ml",
    source="Departed",
    recipe="mean of delay_min over 1h",
    version=1,
    tags=(),
    models=("late.v1",),
    served=Served(n=200, missing=10, mean=12.5, minimum=-3.0, maximum=80.0, top=(), reads_per_min=60.0),
)
TAIL = replace(DELAY, name="tail_history.flights_24h", type="int", entity="tail", owner="fleet", models=(), served=None)


def _names(user: object) -> list[str]:
    (table,) = user.find(ui.table).elements  # type: ignore[attr-defined]
    return [row["name"] for row in table.rows]


async def test_the_page_lists_every_feature_with_its_figures() -> None:
    """A newcomer sees what exists, and how often it is read."""
    async with user_simulation(page("flights", (DELAY, TAIL), lambda: (DELAY, TAIL))) as user:
        await user.open("/")

        await user.should_see("2 of 2 features, 60 reads per minute")
        (table,) = user.find(ui.table).elements
        assert table.rows[0]["missing"] == "5.0%"
        assert table.rows[0]["range"] == "-3 to 80"
        assert table.rows[1]["missing"] == ""


async def test_typing_in_the_search_keeps_what_matches() -> None:
    """Search is by name, recipe or tag."""
    async with user_simulation(page("flights", (DELAY, TAIL), lambda: (DELAY, TAIL))) as user:
        await user.open("/")

        user.find("search").type("tail")

        await user.should_see("1 of 2 features")
        assert _names(user) == ["tail_history.flights_24h"]


async def test_the_page_shows_traffic_that_came_after_it_was_opened() -> None:
    """What is shown is live: the page asks again by itself."""
    now = [DELAY]
    async with user_simulation(page("flights", now, lambda: tuple(now))) as user:
        await user.open("/")
        assert DELAY.served is not None

        now[0] = replace(DELAY, served=replace(DELAY.served, reads_per_min=240.0))

        await user.should_see("240 reads per minute", retries=40)


async def test_a_store_that_does_not_answer_is_said_and_not_shown_as_zero() -> None:
    """Could not read is not no data: the last figures stay, under a line that says they are old."""
    answers = [(DELAY,)]

    def read() -> tuple[Entry, ...]:
        if not answers:
            raise HeadraceError("cannot read: no answer")
        return answers.pop()

    async with user_simulation(page("flights", (DELAY,), read)) as user:
        await user.open("/")

        await user.should_see("not up to date: cannot read: no answer", retries=40)
        assert _names(user) == [DELAY.name]
