"""The topics that have dead letters, and what their readers make of a letter that is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from agents.handle_dead_letters import DeadLetterDesk, Original
from definitions.declared import EventDefinition, ModelDefinition
from headrace.command.publish import key_of
from headrace.errors import UsageError
from headrace.session import Session
from streams import topics
from streams.codecs import decoder_of
from streams.derived import copied_from
from streams.errors import DecodeError
from streams.joins.reading import OutcomeReader


@dataclass(frozen=True, slots=True)
class Input:
    """A topic whose unusable records go aside, and where they lie."""

    topic: str
    letters: str
    read: Callable[[bytes | None], Any] | None
    """Raises `DecodeError` where the definition in force refuses the bytes; None where nothing can be put back."""
    event: EventDefinition | None = None
    """What is published to it; None of outcomes and examples."""
    model: ModelDefinition | None = None

    def desk(self, session: Session) -> DeadLetterDesk:
        """Return the place where its letters are handled."""
        return DeadLetterDesk(session.log, self.topic, self.letters, session.artefacts)

    def put_back(self, original: Original, given: bytes | None) -> Original:
        """Return what is published for a letter: its record, or the bytes given in place of its own."""
        value = original.value if given is None else given
        key = original.key
        if key is None and self.event is not None and self.event.rekeyed is None:
            key = key_of(self.event, value or b"")
        return Original(key, value, original.headers)

    def refusal(self, record: Original) -> str | None:
        """Return why its reader would refuse a record, None where it would take it."""
        assert self.read is not None  # noqa: S101  # whoever replays has called `require_replay`
        if self.event is not None and self.event.rekeyed is not None and copied_from(record.headers) is None:
            return f"no copy; publish it to {self.event.origin}, or discard it"
        try:
            self.read(record.value)
        except DecodeError as error:
            return str(error)
        return None

    def require_replay(self) -> None:
        """Refuse a replay that nobody would take.

        Raises:
            UsageError: the letters are of examples.
        """
        if self.read is None and self.model is not None:
            raise UsageError(
                f"cannot replay: {self.topic}: expected an event's topic, a copy or outcomes, got examples: learners "
                f"skip what lies behind them; let the one that could not learn it go back to a snapshot before it: "
                f"`headrace models rollback {self.model.name} LEARNER --to DIGEST --relearn`"
            )


def inputs_of(session: Session) -> list[Input]:
    """Return every topic of the project that has dead letters: events, copies, outcomes and examples."""
    return list(_inputs(session))


def input_of(session: Session, topic: str) -> Input:
    """Return the input of a topic.

    Raises:
        UsageError: it is none.
    """
    inputs = inputs_of(session)
    for each in inputs:
        if each.topic == topic:
            return each
    known = ", ".join(each.topic for each in inputs) or "none, for no event is declared"
    raise UsageError(f"cannot use {topic}: expected a topic that has dead letters, got another; there is {known}")


def _inputs(session: Session) -> Iterator[Input]:
    app, namespace = session.app, session.namespace
    for event in (*app.events, *app.copies):
        yield Input(event.topic, topics.dead_letters(namespace, event.topic), _reader(event, session), event)
    for model in app.models:
        outcomes = topics.outcomes(namespace, model)
        reader = OutcomeReader(None if model.label is None else model.label.type)
        yield Input(outcomes, topics.dead_outcomes(outcomes), reader.read, model=model)
        yield Input(topics.examples(namespace, model), topics.dead_examples(namespace, model), None, model=model)


def _reader(event: EventDefinition, session: Session) -> Callable[[bytes | None], Any]:
    # Made when it is needed: a codec may want packages and a registry that looking at letters does not.
    decoder = cache(lambda: decoder_of(event, session.schemas))
    return lambda value: decoder().decode(value)
