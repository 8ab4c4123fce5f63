"""Where rekeyed views read: the namespace's copies; what a view or a model is does not change with it."""

from __future__ import annotations

from dataclasses import replace

from definitions.declared import AppDefinition, Lookup, Rekeyed
from definitions.identity import canonical_view, model_digest, view_digest
from streams import topics
from streams.placement import placed
from tests.builders import airport_day, event_definition, model_definition, rekeyed_view, view_definition

EVENT = event_definition()
PLAIN, REKEYED = view_definition(on=EVENT), rekeyed_view(on=EVENT, name="rekeyed")
MODEL = model_definition(views=[PLAIN, REKEYED])
APP = AppDefinition("flights", (EVENT,), (PLAIN, REKEYED), (MODEL,))


def test_a_rekeyed_source_reads_the_copy_of_the_namespace_and_keeps_its_key() -> None:
    app = placed(APP, "dev")

    [copy] = app.copies
    assert copy.topic == "dev.flights.departed.by.origin"
    assert (copy.rekeyed, copy.origin) == (Rekeyed("flights.departed", ("origin",)), "flights.departed")
    assert [view.key for view in app.views] == [view.key for view in APP.views]
    assert app.sources_on(copy.topic) == app.views[1].sources
    assert app.sources_on(EVENT.topic) == app.views[0].sources
    assert app.events == APP.events


def test_identity_is_the_same_in_every_namespace() -> None:
    here, there = placed(APP, "dev"), placed(APP, "prod")

    assert view_digest(here.views[1]) == view_digest(there.views[1]) == REKEYED.digest
    assert model_digest(here.models[0]) == MODEL.digest
    assert REKEYED.digest != replace(PLAIN, name="rekeyed").digest
    assert canonical_view(REKEYED) == {**canonical_view(PLAIN), "rekey": True}


def test_models_read_the_placed_views_whether_directly_or_looked_up() -> None:
    model = replace(MODEL, views=(PLAIN,), lookups=(Lookup(REKEYED, ("origin_traffic.dest",)),))

    [found] = placed(replace(APP, models=(model,)), "dev").models

    assert found.views[0] is PLAIN
    assert found.lookups[0].view.sources[0].event.topic == "dev.flights.departed.by.origin"


def test_an_app_without_rekeyed_views_and_one_that_is_placed_stay_what_they_are() -> None:
    plain = AppDefinition("flights", (EVENT,), (PLAIN, airport_day()), ())
    once = placed(APP, "dev")

    assert placed(plain, "dev") is plain
    assert placed(once, "dev") is once


def test_a_copy_has_room_for_the_key_and_a_place_for_what_nobody_copied() -> None:
    app = placed(replace(APP, events=(replace(EVENT, max_bytes=900_000),)), "dev")
    large = rekeyed_view(on=replace(EVENT, max_bytes=900_000))
    configs = {each.name: each for each in topics.declared(placed(replace(app, views=(large,)), "dev"), "dev", 6)}

    copy = configs["dev.flights.departed.by.origin"]
    assert copy.partitions == configs["dev.dev.flights.departed.by.origin.dlq"].partitions == 6
    assert int(copy.config["max.message.bytes"]) > 2 * 900_000
    assert copy.properties()["message.timestamp.type"] == "LogAppendTime"
