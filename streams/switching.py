"""Changing which version of a view is in force, and removing one that is not: what has to hold, and the doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import AppDefinition, GraphDefinition, ViewDefinition
from streams import intake as intakes
from streams.copies import copier_fold
from streams.errors import SwitchRefused
from streams.records import Partition
from streams.store import OnlineStore, Question
from streams.versions import InForce, pointer_name, read_in_force, read_versions, unreadable

_CELLS_A_CALL = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a version has come in one partition, beside what the features role has taken in there."""

    topic: str
    partition: int
    next: int | None
    """None where it has no row."""
    live: int
    is_kept: bool
    """Whether a running worker keeps it: it contains what the intake does, up to the same time."""

    @property
    def is_ready(self) -> bool:
        """Whether readers miss nothing when they read this version."""
        return self.next is not None and self.next >= self.live and self.is_kept


def topics_of(view: ViewDefinition) -> frozenset[str]:
    """Return the topics whose rows say how far a version is: those that it reads, and what they are copies of."""
    return frozenset(topic for each in view.sources for topic in (each.event.topic, each.event.origin))


def standings(
    store: OnlineStore, view: ViewDefinition, partitions: Mapping[str, Sequence[Partition]]
) -> Sequence[Standing]:
    """Return where a version stands in every partition of its topics, in one round trip.

    A batch that is being written while they are read may show as lacking: ask again.

    Args:
        store: where the rows are.
        view: the version.
        partitions: of each topic of `topics_of`.
    """
    # Whoever reads a copy misses, too, what was not copied yet.
    folds = [(each.key, each.event.topic) for each in view.sources]
    folds += [(copier_fold(each.event.topic), each.event.origin) for each in view.sources if each.event.rekeyed]
    taken_in, *found = store.read(Question(folds=[intakes.FOLD, *(fold for fold, _ in folds)])).rows
    standing = []
    for (_, topic), rows in zip(folds, found, strict=True):
        for partition in partitions[topic]:
            stored, intake = rows.get(partition.field), taken_in.get(partition.field)
            through_ms = None if stored is None else stored.row.applied_through_ms
            live_ms = None if intake is None else intake.row.applied_through_ms
            standing.append(
                Standing(
                    partition.topic,
                    partition.index,
                    None if stored is None else stored.row.next,
                    0 if intake is None else intake.row.next,
                    live_ms is None or (through_ms is not None and through_ms >= live_ms),
                )
            )
    return standing


def refuse_unreadable(app: AppDefinition, to: ViewDefinition) -> None:
    """Refuse a version that a model or graph which follows the view could not be read in.

    Raises:
        SwitchRefused: a feature that one reads is missing, or of another type, or the entity is another.
    """
    for model in app.answering:
        if any(view.name == to.name for view in model.views) and to.name not in model.pinned:
            missing = unreadable(model, to)
            kind = "graph" if isinstance(model, GraphDefinition) else "model"
            if missing:
                raise SwitchRefused(
                    f"cannot switch {to.name} to version {to.version}: {kind} {model.key}: expected "
                    f"{', '.join(missing)} as the {kind} reads it, got none such; declare it, or pin the model's "
                    "version with pins="
                )


def switch(store: OnlineStore, held: InForce, to: ViewDefinition) -> InForce:
    """Put a version in force, by one write; return what is in force now. Readers notice with their next read.

    Args:
        store: where the pointer is.
        held: what was in force when it was decided to switch.
        to: the version to read from now on.

    Raises:
        SwitchRefused: somebody else has switched since.
    """
    now = InForce(to.key, held.key, held.generation + 1)
    if not store.advance_pointer(pointer_name(to.name), now.pointer()):
        raise SwitchRefused(f"cannot switch {to.name}: somebody else has switched it meanwhile; look, then try again")
    return now


def drop(
    store: OnlineStore, app: AppDefinition, view: ViewDefinition, tell: Callable[[int, int], None] = lambda _, __: None
) -> int:
    """Remove the rows and the cells of a version that nobody reads, some hundred cells a call; return how many cells.

    Its rows go first, so that nobody can write it any more; a worker that kept it has its chain broken and lets go.

    Raises:
        SwitchRefused: the version is in force, or a model reads it.
    """
    in_force = read_in_force(store, app.versions(view.name))
    readers = [model for model, read in read_versions(app, view.name, in_force).items() if read.key == view.key]
    if in_force.key == view.key or readers:
        who = f"models {', '.join(readers)} read it" if readers else "it is in force"
        raise SwitchRefused(
            f"cannot drop {view.name} version {view.version}: expected a version that nobody reads, got that {who}; "
            f"switch to another one with `headrace features switch {view.name} --to N`"
        )
    removed = 0
    for source in view.sources:
        store.remove(source.key, ())
        entities = store.entities(source.key)
        for low in range(0, len(entities), _CELLS_A_CALL):
            some = entities[low : low + _CELLS_A_CALL]
            store.remove(source.key, some)
            removed += len(some)
            tell(removed, len(entities))
    return removed
