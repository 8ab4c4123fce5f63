"""What the rows of a source topic rest on: the topic's identity and partitions, and how much poison was let pass.

Both are pointers of the store. A *source* pointer is written when a topic is first read: ``digest`` is the topic's id,
``position`` the number of its partitions. A topic that is another one by now, or has more partitions, is refused until
``headrace repair`` writes the next generation. ``position`` 0 says that a restart is under way.
"""

from __future__ import annotations

from streams.records import Partition
from streams.store import OnlineStore, Pointer, Question

RESTARTING = 0


def source_pointer(topic: str) -> str:
    """Return the name of the pointer that says which topic the rows are of."""
    return f"source.{topic}"


def accepted_pointer(partition: Partition) -> str:
    """Return the name of the pointer up to whose position dead records do not trip the breaker."""
    return f"accepted.{partition.topic}.{partition.field}"


def read_pointers(store: OnlineStore, partition: Partition) -> tuple[Pointer | None, int]:
    """Return the partition's source, None where the topic was never read, and its accepted offset."""
    names = [source_pointer(partition.topic), accepted_pointer(partition)]
    source, accepted = store.read(Question(pointers=names)).pointers
    return source, 0 if accepted is None else accepted.position


def pin(store: OnlineStore, topic_id: str, topic: str, partitions: int) -> Pointer:
    """Say which topic the rows are of, the first time; return what holds now."""
    pointer = Pointer(1, partitions, topic_id)
    if store.advance_pointer(source_pointer(topic), pointer):
        return pointer
    held = source_of(store, topic)
    return pointer if held is None else held


def source_of(store: OnlineStore, topic: str) -> Pointer | None:
    """Return which topic the rows are of, None where it was never read."""
    return store.read(Question(pointers=[source_pointer(topic)])).pointers[0]


def replace_source(store: OnlineStore, topic: str, topic_id: str, partitions: int) -> None:
    """Say anew which topic the rows are of."""
    held = source_of(store, topic)
    generation = 1 if held is None else held.generation + 1
    store.advance_pointer(source_pointer(topic), Pointer(generation, partitions, topic_id))


def accept_poison(store: OnlineStore, partition: Partition, before: int) -> None:
    """Let the dead records below offset ``before`` pass the breaker."""
    name = accepted_pointer(partition)
    [held] = store.read(Question(pointers=[name])).pointers
    store.advance_pointer(name, Pointer(1 if held is None else held.generation + 1, before, partition.topic_id))
