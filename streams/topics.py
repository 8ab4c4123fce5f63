"""The one table of headrace's own topics: name, key, partitions, cleanup, who writes, who reads.

==============================  =====================  ==========  =======  ====================  ====================
topic (after the namespace)     key                    partitions  cleanup  written by            read by
==============================  =====================  ==========  =======  ====================  ====================
``<model or graph>.requests``   any                    default     delete   callers               scoring
``replies``                     correlation id         16          delete   scoring               the caller's client
``<model>.v<n>.outcomes``       label key              default     delete   scoring, learning     learning, monitoring
``<model>.v<n>.outcomes.dlq``   as the source          default     delete   learning              people
``<model>.v<n>.examples``       label key              1           delete   learning              learning
``<model>.v<n>.examples.dlq``   as the example         1           delete   learning              people
``<graph>.v<n>.rankings``       request id             default     delete   scoring               people
``ticks``                       model                  1           delete   monitoring            monitoring
``alerts``                      fingerprint            1           compact  monitoring            people
``deployments``                 model                  1           delete   batch, deploy         every role
``<event topic>.dlq``           as the source          source's    delete   features              people
``<event topic>.late``          as the source          source's    delete   features              people
``<event topic>.by.<fields>``   the fields, an entity  default     delete   features              features
``<any of them>.dlq.handled``   letter's id            1           compact  ``headrace dlq``      ``headrace dlq``
==============================  =====================  ==========  =======  ====================  ====================

Dead-letter and late topics and copies stand beside the user's topic and carry the namespace in front as well. A copy
has a dead-letter topic of its own: what nobody copied may be written to it.
All are created with ``message.timestamp.type=LogAppendTime``: a clock that no client sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from definitions.declared import AppDefinition, EventDefinition, GraphDefinition, ModelDefinition

DEFAULT_PARTITIONS = 4
REPLY_PARTITIONS = 16
REQUEST_MAX_BYTES = 1024 * 1024
BESIDE_ROOM_BYTES = 64 * 1024
"""What key and headers of an event may take beside its value."""

_WHY_ROOM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic as it is created where it is missing. An existing one is left as it is."""

    name: str
    partitions: int = DEFAULT_PARTITIONS
    config: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> dict[str, str]:
        """Return the topic's Kafka properties."""
        return {"message.timestamp.type": "LogAppendTime", **self.config}


def requests(namespace: str, asked: ModelDefinition | GraphDefinition) -> str:
    """Return the topic that callers ask a model or a graph on."""
    return requests_of(namespace, asked.name)


def requests_of(namespace: str, name: str) -> str:
    """Return the topic to ask the model or graph called ``name`` on, for callers who have no definitions."""
    return f"{namespace}.{name}.requests"


def replies(namespace: str) -> str:
    """Return the topic that replies go to; requests may name any topic that starts with it."""
    return f"{namespace}.replies"


def outcomes(namespace: str, model: ModelDefinition) -> str:
    """Return the topic where a model's predictions and labels meet."""
    return f"{namespace}.{model.key}.outcomes"


def rankings(namespace: str, graph: GraphDefinition) -> str:
    """Return the topic of what a graph answered, and by what."""
    return f"{namespace}.{graph.key}.rankings"


def dead_outcomes(outcomes_topic: str) -> str:
    """Return the topic that takes the unusable bytes of an outcomes topic."""
    return f"{outcomes_topic}.dlq"


def examples(namespace: str, model: ModelDefinition) -> str:
    """Return the topic of a model's joined examples: one partition, one order."""
    return f"{namespace}.{model.key}.examples"


def dead_examples(namespace: str, model: ModelDefinition) -> str:
    """Return the topic of examples that a learner of the model could not learn."""
    return f"{examples(namespace, model)}.dlq"


def ticks(namespace: str) -> str:
    """Return the topic of the counts that health statistics fold."""
    return f"{namespace}.ticks"


def alerts(namespace: str) -> str:
    """Return the topic of alerts, compacted to the state of each incident."""
    return f"{namespace}.alerts"


def deployments(namespace: str) -> str:
    """Return the topic of releases put in force."""
    return f"{namespace}.deployments"


def of_deployments(namespace: str) -> TopicConfig:
    """Return the topic of releases put in force, as it is created: every deployment is kept."""
    return TopicConfig(deployments(namespace), partitions=1, config={"retention.ms": "-1"})


def dead_letters(namespace: str, topic: str) -> str:
    """Return the topic that takes the unusable bytes of ``topic``."""
    return f"{namespace}.{topic}.dlq"


def handled_letters(letters: str) -> TopicConfig:
    """Return the topic of what was done about the letters of a dead-letter topic; made when something is done."""
    return TopicConfig(f"{letters}.handled", partitions=1, config={"cleanup.policy": "compact"})


def late_records(namespace: str, topic: str) -> str:
    """Return the topic that takes the records of ``topic`` that came too late for a view."""
    return f"{namespace}.{topic}.late"


def copies(namespace: str, topic: str, by: Sequence[str]) -> str:
    """Return the topic of the copies of ``topic`` that are keyed by the fields ``by``."""
    return f"{namespace}.{topic}.by.{'.'.join(by)}"


def value_room(event: EventDefinition) -> int:
    """Return the bytes that an event's value may have in the topics of its copies."""
    return max(event.max_bytes, 1024 * 1024)


def declared(app: AppDefinition, namespace: str, partitions: int = DEFAULT_PARTITIONS) -> tuple[TopicConfig, ...]:
    """Return every topic that the app, placed, needs, the user's event topics included, each once.

    ``partitions`` is for those that the table above does not fix.
    """
    configs = [*(config for event in app.events for config in _of_event(event, namespace, partitions))]
    configs += [config for copy in app.copies for config in _of_copy(copy, namespace, partitions)]
    room = {"max.message.bytes": str(REQUEST_MAX_BYTES + 16 * 1024)}
    configs += [TopicConfig(requests(namespace, each), partitions, room) for each in app.answering]
    dead_room = {"max.message.bytes": str(REQUEST_MAX_BYTES + BESIDE_ROOM_BYTES + _WHY_ROOM_BYTES)}
    for model in app.models:
        configs += [
            TopicConfig(outcomes(namespace, model), partitions),
            TopicConfig(dead_outcomes(outcomes(namespace, model)), partitions, dead_room),
            TopicConfig(examples(namespace, model), partitions=1),
            TopicConfig(dead_examples(namespace, model), partitions=1),
        ]
    configs += [TopicConfig(rankings(namespace, graph), partitions) for graph in app.graphs if graph.logged]
    configs += [
        TopicConfig(replies(namespace), partitions=REPLY_PARTITIONS, config={"retention.ms": "3600000"}),
        TopicConfig(ticks(namespace), partitions=1),
        TopicConfig(alerts(namespace), partitions=1, config={"cleanup.policy": "compact"}),
        of_deployments(namespace),
    ]
    return tuple({config.name: config for config in configs}.values())


def _of_event(event: EventDefinition, namespace: str, partitions: int) -> tuple[TopicConfig, ...]:
    source_bytes = value_room(event) + BESIDE_ROOM_BYTES
    room = {"max.message.bytes": str(source_bytes)}
    more_room = {"max.message.bytes": str(source_bytes + _WHY_ROOM_BYTES)}
    return (
        TopicConfig(event.topic, partitions, room),
        TopicConfig(dead_letters(namespace, event.topic), partitions, more_room),
        TopicConfig(late_records(namespace, event.topic), partitions, more_room),
    )


def _of_copy(copy: EventDefinition, namespace: str, partitions: int) -> tuple[TopicConfig, ...]:
    # The key is a part of the value, which may be nearly all of it.
    room_bytes = max(value_room(copy), 2 * copy.max_bytes) + BESIDE_ROOM_BYTES + _WHY_ROOM_BYTES
    more_bytes = room_bytes + _WHY_ROOM_BYTES
    return (
        TopicConfig(copy.topic, partitions, {"max.message.bytes": str(room_bytes)}),
        TopicConfig(dead_letters(namespace, copy.topic), partitions, {"max.message.bytes": str(more_bytes)}),
    )
