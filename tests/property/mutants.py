"""What is done to the engine and the statistics to see whether their check notices: one wrong text in one file each.

Those of the state's files stand apart, because they follow how that is written; the others follow what a
statistic means.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A text of one file of `streams`, and what stands in its place."""

    name: str
    file: str
    text: str
    instead: str


def _of(file: str, *mutants: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(name, file, text, instead) for name, text, instead in mutants]


STATE = [
    *_of(
        "folding.py",
        ("events count twice", "state[{counted}] += 1", "state[{counted}] += 2"),
        ("tile of the event before", "tile = since_ms // {grid_ms}", "tile = (since_ms - 1) // {grid_ms}"),
        ("origin not aligned", "at_ms - at_ms % {align_ms}", "at_ms"),
        ("open tile taken for any", "if newest == tile:", "if newest is not None and newest >= tile:"),
        ("disorder forgotten in pruning", "newest_ms - {disorder_ms} - origin_ms", "newest_ms - origin_ms"),
        ("pruned a tile too soon", "floor_ms // {grid_ms} - {span_tiles}", "floor_ms // {grid_ms} - {span_tiles} + 1"),
        (
            "given up without saying",
            "                        state[{place}] = sealed[0]\n",
            "                        pass\n",
        ),
        ("oldest given up is remembered", "dropped < sealed[0]", "dropped > sealed[0]"),
        ("open tile lost when the next one opens", "sealed += state[{open}:{end}]", "pass"),
        ("opened with no event", "state[{open}:{end}] = tile, 1{opened}", "state[{open}:{end}] = tile, 0{opened}"),
        ("late event is not counted", "row[at + 1] += 1", "row[at + 1] += 0"),
        (
            "refused without saying",
            "        _drop(state, place, tile)\n        return None, 0",
            "        return None, 0",
        ),
        ("given up on a late event without saying", "_drop(state, place, sealed[(given_up - 1) * width])", "pass"),
        ("late tile in the wrong place", "row = bisect_left(tiles, tile)", "row = 0"),
        ("tile behind the open one lost", "tiles[row] != tile", "False"),
        ("first input folded", "{first} if held is None else {folded}", "{first}"),
        ("late events are dropped", "            late += 1\n", "            late += 1\n            continue\n"),
        ("what is contained is added again", "if offset < slot.position:", "if False:"),
        ("first offset behind is skipped", "if offset < slot.position:", "if offset <= slot.position:"),
        ("late at the disorder", "if behind_ms > {disorder_ms}:", "if behind_ms >= {disorder_ms}:"),
        ("newest time is the last time", "if behind_ms <= 0:", "if True:"),
        ("newest time never moves", "newest_ms = at_ms\n", "newest_ms = max(newest_ms, 0)\n"),
        ("too late a tile too soon", "<= newest_ms // {longest_grid_ms}", "<= 1 + newest_ms // {longest_grid_ms}"),
        ("too late a tile too late", "<= newest_ms // {longest_grid_ms}", "< newest_ms // {longest_grid_ms}"),
        ("too late events are taken", "                continue\n            late", "            late"),
    ),
    *_of(
        "cells.py",
        ("wide integers cut", "msgspec.msgpack.Ext(_WIDE_INT,", "msgspec.msgpack.Ext(2,"),
        ("shortest window decides", "self.longest = max(", "self.longest = min("),
    ),
    *_of(
        "engine.py",
        ("no entity counts as applied", "- folded.no_entity - len(too_late)", "- len(too_late)"),
        (
            "batch applied from its own start",
            "batch = batch.between(row.next, batch.next)\n        sifted",
            "sifted",
        ),
    ),
]
"""Of streams/folding.py, cells.py and engine.py."""

STATISTICS = [
    *_of(
        "windows.py",
        ("window a tile too long", "before = now - {tiles}", "before = now - {tiles} - 1"),
        ("window a tile too short", "before = now - {tiles}", "before = now - {tiles} + 1"),
        (
            "tile of now left out",
            "bisect_right(sealed[::{width}], now) * {width}",
            "bisect_right(sealed[::{width}], now - 1) * {width}",
        ),
        ("open tile of now left out", "before < newest <= now:\n{open}", "before < newest < now:\n{open}"),
        (
            "older tiles in",
            "sealed[0] <= before:\n                start = bisect_right(sealed[::{width}]",
            "False:\n                start = bisect_right(sealed[::{width}]",
        ),
        ("sealed tiles of the future in", "if sealed[-{width}] > now:", "if False:"),
        ("open tile always in", "is not None and before < newest <= now:\n{open}", "is not None:\n{open}"),
        ("open tile is not read", "is not None and before < newest <= now:\n{open}", "is False:\n{open}"),
        ("sealed tiles are not read", "        if sealed:\n            start", "        if False:\n            start"),
        ("partial window answered", "> before:\n            is_lost_{number}", "> now:\n            is_lost_{number}"),
        ("whole window refused", "> before:\n            is_lost_{number}", ">= before:\n            is_lost_{number}"),
        (
            "first partition only",
            "for state in states or ():\n        since_ms",
            "for state in (states or ())[:1]:\n        since_ms",
        ),
        ("ages by the first origin", '"kept and (since_ms - kept[0]', '"kept and (as_of_ms - states[0][0] - kept[0]'),
        ("several values by wrong place", "found[{item - 1}]", "found[-{item}]"),
    ),
    *_of(
        "ages.py",
        (
            "value as old as its oldest cell",
            "newest * {grid_ms}\n        if tile_ms > begun_ms:",
            "newest * {grid_ms}\n        if tile_ms < begun_ms or begun_ms == LONG_AGO_MS:",
        ),
        ("age of a tile behind its window", "if behind < {tiles} <= retained:", "if behind <= {tiles} <= retained:"),
        ("age of what is not answered", "if behind < {tiles} <= retained:", "if behind < {tiles}:"),
        (
            "tile of the future taken for the newest",
            "state[{place}:{counted}]\n        if newest is None or newest > now:",
            "state[{place}:{counted}]\n        if newest is None:",
        ),
    ),
    *_of(
        "aggregates/numbers.py",
        (
            "whole numbers add up to a float",
            "return _total(sums, floats=self.source.floats)",
            "return _total(sums, floats=True)",
        ),
        ("variance of the population", "squares / (number - 1)", "squares / number"),
        ("variance of one value", "if number > 1 else None", "if number > 0 else None"),
        (
            "tiles merge as if of one mean",
            "squares += other_squares + distance * distance * (number * other / both)",
            "squares += other_squares",
        ),
        ("mean of means unweighted", "mean += distance * (other / both)", "mean += distance / 2"),
        ("moments from the old mean", "squares + distance * (value - mean)", "squares + distance * distance"),
        ("least is greatest", "self.source.inputs(), min)", "self.source.inputs(), max)"),
        ("ratio upside down", "_finite(above / below)", "_finite(below / above) if above else None"),
        ("zero over something is nothing", "if above is None or not below:", "if not above or not below:"),
        ("root forgotten", "math.sqrt(variance) if", "variance if"),
    ),
    *_of(
        "aggregates/columns.py",
        ("nulls average as zeros", "counted = source if source.nullable else source.events", "counted = source.events"),
        ("any condition is enough", "value_of(event) if all(", "value_of(event) if any("),
        ("what is unknown is let in", "each(row) is True", "each(row) is not False"),
        ("filters share a column", 'where = f"|{condition_text(self.where)}" if self.where else ""', 'where = ""'),
    ),
    *_of(
        "aggregates/ordered.py",
        ("later offset is first", "given[0] < held[0]", "given[0] <= held[0]"),
        ("earlier offset is last", "given[0] >= held[0]", "given[0] > held[0]"),
        ("later partition is first", "held[0] > oldest[0]", "held[0] >= oldest[0]"),
        ("earlier partition is last", "held[0] <= newest[0]", "held[0] < newest[0]"),
        ("equal times in reverse", "bisect_right(kept", "bisect_left(kept"),
        ("newest is thrown away", "del kept[0]", "del kept[-1]"),
        ("a tile keeps one less", "if len(kept) > k:", "if len(kept) > k - 1:"),
        ("oldest first", "[::-1]", ""),
        ("ages before their own tile's", "age_ms - ahead_ms, value", "age_ms, value"),
    ),
    *_of(
        "aggregates/decayed.py",
        ("half in two half lives", "(given_ms - held_ms) / half_life_ms", "(given_ms - held_ms) / half_life_ms / 2"),
        ("older weighs more", "2.0 ** ((given_ms - held_ms)", "2.0 ** ((held_ms - given_ms)"),
        ("not scaled to the time asked", "2.0 ** (-age_ms / self.half_life_ms)", "1.0"),
        ("tiles of one weight", "2.0 ** ((newest_ms - age_ms) / self.half_life_ms)", "1.0"),
    ),
    *_of(
        "aggregates/sketches.py",
        ("equal values are different", "if at == len(held) or held[at] != given:", "if True:"),
        ("registers keep the newest rank", "if rank > held[place]:", "if True:"),
        (
            "registers of one tile",
            "np.maximum.reduce([np.frombuffer(each, np.uint8) for each in registers])",
            "np.frombuffer(registers[0], np.uint8)",
        ),
        ("exact tiles forgotten in the union", "_registers(hashes, self.precision)", "_registers([], self.precision)"),
        ("rank one too high", "rest_bits + 1 - (value", "rest_bits + 2 - (value"),
        ("quantile one place on", "if end > int(", "if end > 1 + int("),
        ("upper end of the bucket", "* (1 - self.accuracy)\n", "* 1.0201\n"),
        ("negatives are positive", "place if value > 0 else -place", "place"),
        (
            "buckets of twice the width",
            "return math.log((1 + accuracy) / (1 - accuracy))",
            "return 2 * math.log((1 + accuracy) / (1 - accuracy))",
        ),
        ("no count gives up one", "count - 1 for value", "count for value"),
        ("ties by first seen", "(-counts[value], value)", "-counts[value]"),
        (
            "counted beyond the capacity",
            "return {value: count - 1 for value, count in held.items() if count > 1}",
            "return held",
        ),
    ),
]
"""Of streams/windows.py, streams/ages.py and streams/aggregates."""
