"""A graph answers what plain Python answers row by row: lazy, eager, and with other requests in the micro-batch."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import GraphDefinition
from definitions.values import Value
from online_models.graphs import Ask, Ranked
from online_models.graphs.executor import GraphExecutor
from online_models.graphs.matrix import Matrix
from tests.ranking import RANKING, Stored, brute_force, graph, world_of

IDS = [f"A{number}" for number in range(40)]
COLUMNS = {
    "p": ["price", "seats", "near", 'Traffic.flights["1h"]', "late", 'Pairs.flights["24h"]', 'Tails.delay["24h"]'],
    "c": ["price > 3", "seats != 2", 'Traffic.flights["1h"] < 9', "late > 0.5", 'gate == "a"', "near > price"],
    "g": ["gate", "seats", "(price > 4)", 'Traffic.flights["1h"]'],
}
"""What random stages read: numbers, conditions, groups."""

numbers = st.sampled_from(COLUMNS["p"])
scored = st.one_of(
    numbers, st.tuples(numbers, st.sampled_from("+-*/"), numbers).map(lambda e: f"({e[0]} {e[1]} {e[2]})"),
    numbers.map(lambda each: f"({each}).else_(1)"), numbers.map(lambda each: f"({each}).clip(0, 5)"),
)  # fmt: skip
conditions = st.one_of(
    st.sampled_from(COLUMNS["c"]),
    st.tuples(st.sampled_from(COLUMNS["c"]), st.sampled_from("&|"), st.sampled_from(COLUMNS["c"])).map(
        lambda each: f"({each[0]}) {each[1]} ~({each[2]})"
    ),
)


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Return a graph's declaration: at first a score, then any stages in any order."""
    stages, top = [f".score({draw(scored)})"], 30
    for kind in draw(st.lists(st.sampled_from(["filter", "score", "top", "group", "sort"]), min_size=1, max_size=6)):
        if kind == "top":
            if top == 1:
                continue
            top = draw(st.integers(1, top - 1))
            stages.append(f".top({top})")
        elif kind == "group":
            stages.append(f".group({draw(st.sampled_from(COLUMNS['g']))}, at_most={draw(st.integers(1, 3))})")
        elif kind == "sort":
            given_ = draw(st.sampled_from(["", "price", "seats"]))
            stages.append(f".sort({f'{given_}, ' if given_ else ''}descending={draw(st.booleans())})")
        else:
            stages.append(f".{kind}({draw(scored if kind == 'score' else conditions)})")
    used = "".join(stages)
    head = RANKING[: RANKING.index("    near =")]
    near = '    near = hr.dot(hr.request("taste", list[float], length=2), "routes")\n' if "near" in used else ""
    late = "    late = hr.predicted(Late)\n" if "late" in used else ""
    # Every input has to be read: the last filter reads them all, and lets everything pass.
    everything = '.filter(((price > 0) | (seats > 0) | (gate == "a")).else_(True) | True)'
    return f"{head}{near}{late}    answer = candidates{used}{everything}\n"


exact = st.integers(-8, 8).map(float)
floats = st.none() | exact | st.floats(-1e6, 1e6)
whole = st.none() | st.integers(-9, 9) | st.sampled_from([2**53 + 1, -(2**60), 10**30])


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=25))
    count = len(ids)
    return Ask(
        ids,
        1_000,
        {
            "budget": draw(floats),
            "hour": draw(st.none() | st.integers(0, 23)),
            "taste": draw(st.none() | st.lists(exact, min_size=2, max_size=2)),
        },
        {
            "price": draw(st.lists(floats, min_size=count, max_size=count)),
            "gate": draw(st.lists(st.none() | st.sampled_from("ab"), min_size=count, max_size=count)),
            "seats": draw(st.lists(whole, min_size=count, max_size=count)),
        },
    )


def feature(name: str, entity: tuple[Value, ...]) -> Value:
    """Return a feature's value: absent of some, whole where it is a count."""
    number = sum(map(ord, name + repr(entity)))
    if number % 5 == 0 or None in entity:
        return None
    return number % 13 if "flights" in name else number % 29 / 7


ROWS: Mapping[str, Mapping[str | int, Sequence[float]]] = {
    "routes": {each: [number % 7 - 3.0, number % 4 + 0.5] for number, each in enumerate(IDS) if number % 6}
}
MATRICES = {"routes": Matrix(list(ROWS["routes"]), np.array(list(ROWS["routes"].values()), dtype=np.float32))}


def bits(ranked: Ranked) -> object:
    scores = [None if each is None else struct.pack("d", each) for each in ranked.scores]
    return ranked.places, scores, ranked.degraded, ranked.reason


def run(declared: GraphDefinition, given_: Sequence[Ask], tails: Sequence[Any], **changes: Any) -> list[Ranked]:
    stored = Stored(declared, feature, tails, given_)
    return list(GraphExecutor(declared, clock=lambda: 0.0).run(given_, world_of(stored, MATRICES, **changes)).answers)


@settings(deadline=None, max_examples=150)
@given(sources(), st.lists(asks(), min_size=1, max_size=3))
def test_a_graph_answers_what_plain_python_answers_row_by_row(source: str, many: list[Ask]) -> None:
    declared = graph(source)
    tails = [None, "T1", "T2"][: len(many)]
    stored = Stored(declared, feature, tails, many)

    found = run(declared, many, tails)

    for number, ranked in enumerate(found):
        expected = brute_force(stored, number, ROWS)
        assert list(ranked.places) == [place for place, _ in expected]
        assert list(ranked.scores) == [score for _, score in expected]
        assert ranked.degraded == ()


@settings(deadline=None, max_examples=100)
@given(sources(), st.lists(asks(), min_size=1, max_size=3))
def test_lazy_eager_and_batched_are_equal_to_the_bit(source: str, many: list[Ask]) -> None:
    lazy = replace(graph(source), eager=False)
    tails = [None, "T1", "T2"][: len(many)]

    together = run(lazy, many, tails)
    eager = run(replace(lazy, eager=True), many, tails)
    alone = [run(lazy, [each], [tail])[0] for each, tail in zip(many, tails, strict=True)]

    assert [bits(each) for each in together] == [bits(each) for each in eager] == [bits(each) for each in alone]
