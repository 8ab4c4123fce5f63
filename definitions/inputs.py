"""What a model reads: features of views, what requests carry, features that are looked up, and expressions of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from definitions.aggregates import Windowed
from definitions.annotations import VALUE_TYPES, declared_length, declared_unit
from definitions.declared import Input, Lookup, ViewDefinition
from definitions.declaring import Declaring, author_line
from definitions.expressions import ASKED_AT, Expression, cycle_among
from definitions.terms import FeatureTerm, Leaf, Naming, Term, article
from definitions.times import AskedAtTerm
from definitions.units import UNKNOWN, common
from definitions.values import ValueType, shown


class RequestTerm(Leaf):
    """A value that the request carries, as `request` declares it."""

    __slots__ = ("input",)

    def __init__(self, given: Input) -> None:
        super().__init__(given.type, given.unit, given.length)
        self.input = given

    def __repr__(self) -> str:
        return f"hr.request({self.input.name!r})"


class LookupTerm(Leaf):
    """A feature of the entity that other values name, as `lookup` declares it."""

    __slots__ = ("by", "read")

    def __init__(self, read: FeatureTerm, by: tuple[FeatureTerm | RequestTerm, ...]) -> None:
        super().__init__(read.type, read.unit, read.length)
        self.read = read
        self.by = by

    def __repr__(self) -> str:
        return f"hr.lookup({self.read!r}, by={', '.join(map(repr, self.by))})"


class NamedTerm(Term):
    """An expression with the name that it has in a model's vector, as `named` gives it."""

    __slots__ = ("name", "term")

    def __init__(self, name: str, term: Term) -> None:
        super().__init__(term.type, term.unit, term.length)
        self.name = name
        self.term = term

    def __repr__(self) -> str:
        return f"hr.named({self.name!r}, {self.term!r})"

    def _combined(self, named: Naming) -> Expression:
        return self.term.expression(named)


def request(
    name: str, kind: type[int | float | bool | str | list[float]], *, unit: str = UNKNOWN, length: int | None = None
) -> Term:
    """Declare a value that the request carries under ``inputs``.

    Args:
        name: its name there; the same name means the same input wherever it is written.
        kind: ``int``, ``float``, ``bool``, ``str`` for a category, or ``list[float]`` for an embedding.
        unit: of a number, as in `hr.Unit`.
        length: how many numbers an embedding has.
    """
    declaring = Declaring(f"request input {shown(name)}", author_line())
    try:
        found = VALUE_TYPES.get(kind)
    except TypeError:
        found = None
    if found is None or found is ValueType.TIME:
        expected = "int, float, bool, str or list[float]"
        raise declaring.refusal(expected, getattr(kind, "__name__", shown(kind)))
    declaring.name(name)
    numbers = declared_length(declaring, name, found, length)
    return RequestTerm(Input(name, found, length=numbers, unit=declared_unit(declaring, name, found, unit)))


def named(name: str, term: Term) -> Term:
    """Give an expression the name that it has in a model's vector.

    ``hr.named("flights_per_seat", OriginTraffic.flights["1h"] / hr.request("seats", int))``. In a view an expression
    is named by its attribute instead.
    """
    declaring = Declaring(f"expression {shown(name)}", author_line())
    if not isinstance(term, Term):
        raise declaring.refusal("an expression", shown(term))
    return NamedTerm(declaring.name(name), term)


def lookup(feature: Term, *, by: Term | Sequence[Term]) -> Term:
    """Return a feature of the entity that other values name at that time.

    ``hr.lookup(CarrierStats.delay["24h"], by=TailState.carrier["24h"])`` is the carrier's delay, for the carrier that
    last flew the tail. Where ``by`` has no value, or names an entity that was never seen, it has none.

    Cost: where a model looks anything up, its features are read in two round trips to the store for the whole
    micro-batch instead of one.

    Args:
        feature: of a view.
        by: the feature or request input that names the entity; several in the order of the view's ``by``.
    """
    declaring = Declaring("lookup", author_line())
    if not isinstance(feature, FeatureTerm):
        raise declaring.refusal("a feature of a view", shown(feature), 'as in CarrierStats.delay["24h"]')
    given = tuple(by) if isinstance(by, list | tuple) else (by,)
    names = feature.view.entity_names
    if len(given) != len(names):
        raise declaring.refusal(f"by= to give {', '.join(names)} of {feature.view.name}", f"{len(given)} terms")
    return LookupTerm(feature, tuple(_key(declaring, feature.view, *each) for each in zip(names, given, strict=True)))


def _key(declaring: Declaring, view: ViewDefinition, name: str, term: object) -> FeatureTerm | RequestTerm:
    if not isinstance(term, FeatureTerm | RequestTerm):
        mend = "declare an expression as an attribute of its view"
        if isinstance(term, LookupTerm):
            mend = "a feature that is looked up cannot name what is looked up: each would cost a round trip more"
        raise declaring.refusal("by= to be a feature or a request input", shown(term), mend)
    kind = key_type(view, name)
    if term.type is not kind:
        raise declaring.refusal(f"by= to be {article(kind)}, as {name} of {view.name} is", article(term.type))
    return term


def key_type(view: ViewDefinition, name: str) -> ValueType:
    """Return the type of one of the names of a view's entity."""
    return next(each.type for each in view.entity if each.name == name)


@dataclass(slots=True)
class Vector:
    """What a model's ``features`` come to, gathered one by one."""

    declaring: Declaring
    inputs: dict[str, Input] = field(default_factory=dict)
    views: dict[str, ViewDefinition] = field(default_factory=dict)
    """Read for the request's own entities."""
    lookups: dict[str, Lookup] = field(default_factory=dict)
    requests: dict[str, Input] = field(default_factory=dict)
    """All that the request carries, in the vector or not."""
    _known: dict[str, ViewDefinition] = field(default_factory=dict)

    @classmethod
    def of(cls, declaring: Declaring, features: object) -> Vector:
        """Return what the author's list comes to, or refuse it."""
        if not isinstance(features, list | tuple) or not features:
            got = "none" if features is None or isinstance(features, list | tuple) else shown(features)
            raise declaring.refusal("features to be a list of features and request inputs", got)
        vector = cls(declaring)
        for given in features:
            vector._put(vector._input(given))
        vector._refuse_one_name_for_two()
        refuse_ambiguous_entities(declaring, vector.views.values())
        return vector

    @property
    def carried(self) -> tuple[Input, ...]:
        """What the request carries beside the vector."""
        return tuple(each for name, each in self.requests.items() if name not in self.inputs)

    def _refuse_one_name_for_two(self) -> None:
        """Refuse a name of an expression that is a request input's too: expressions could read themselves by it."""
        made = {name: each.expression for name, each in self.inputs.items() if each.expression is not None}
        if cycle := cycle_among(made):
            mend = "a request input has the name of an expression that reads it"
            raise self.declaring.refusal("expressions that do not read themselves", " <- ".join(cycle), mend)
        for name in made.keys() & self.requests.keys():
            raise self.declaring.refusal(f"{name} to name one thing", "an expression and a request input")

    def _put(self, read: Input) -> None:
        if read.name in self.inputs:
            raise self.declaring.refusal("each input once", f"{read.name} twice")
        if read.type is ValueType.TIME:
            mend = "write hr.hour(…), hr.weekday(…), or the ms since then: hr.asked_at() - …"
            raise self.declaring.refusal(f"{read.name} to be a number, a bool, a str or an embedding", "a time", mend)
        self.inputs[read.name] = read

    def _input(self, given: object) -> Input:
        if isinstance(given, FeatureTerm | RequestTerm | LookupTerm):
            return self.leaf(given)
        if isinstance(given, NamedTerm):
            expression = given.expression(self._name)
            return Input(given.name, given.type, length=given.length, expression=expression, unit=given.unit)
        mend = ""
        if isinstance(given, Windowed):
            mend = f"name a window, as in {given.example}"
        elif isinstance(given, Term):
            mend = 'declare the expression as an attribute of its view, or name it: hr.named("…", …)'
        raise self.declaring.refusal("features of views and hr.request(…)", shown(given), mend)

    def _name(self, term: Term) -> str | None:
        if isinstance(term, FeatureTerm | RequestTerm | LookupTerm):
            return self.leaf(term).name
        if isinstance(term, AskedAtTerm):
            return ASKED_AT
        if isinstance(term, Leaf):
            raise self.declaring.refusal("expressions of features of views and hr.request(…)", repr(term))
        return None

    def leaf(self, term: FeatureTerm | RequestTerm | LookupTerm) -> Input:
        """Return what a term reads, gathered; or refuse it where it contradicts what was gathered before."""
        if isinstance(term, RequestTerm):
            return self.request(term.input)
        if isinstance(term, LookupTerm):
            return self._lookup(term)
        self.views.setdefault(term.view.name, self.one_version(term.view))
        return _feature_input(term)

    def request(self, given: Input) -> Input:
        """Return a value that the request carries, gathered: one type and unit for one name."""
        known = self.requests.setdefault(given.name, given)
        if (known.type, known.length) != (given.type, given.length) or common(known.unit, given.unit) is None:
            first, second = (f"{each.type.written} {each.length or each.unit}".rstrip() for each in (known, given))
            raise self.declaring.refusal(f"request input {given.name} of one type and unit", f"{first} and {second}")
        return known

    def _lookup(self, term: LookupTerm) -> Input:
        by = tuple(self.leaf(each).name for each in term.by)
        found = Lookup(self.one_version(term.read.view), by)
        self.lookups.setdefault(f"{found.view.name}{found.suffix}", found)
        return _feature_input(term.read, found.suffix)

    def one_version(self, view: ViewDefinition) -> ViewDefinition:
        """Return the view, or refuse it where another version of it was gathered."""
        if self._known.setdefault(view.name, view) is not view:
            raise self.declaring.refusal(f"one version of view {view.name}", "two")
        return view


def _feature_input(term: FeatureTerm, suffix: str = "") -> Input:
    view, feature = term.view.name, term.feature
    name = f"{view}.{feature.name}{suffix}"
    return Input(name, feature.type, view, feature.name, length=feature.length, unit=feature.unit)


def refuse_ambiguous_entities(declaring: Declaring, views: Iterable[ViewDefinition]) -> None:
    """Refuse views that call entities of different types by one name."""
    types: dict[str, tuple[ValueType, str]] = {}
    for view in views:
        for name in view.entity_names:
            kind = key_type(view, name)
            known, first = types.setdefault(name, (kind, view.name))
            if known is not kind:
                raise declaring.refusal(
                    f"entity {name} of one type", f"{known.written} in {first}, {kind.written} in {view.name}"
                )
