"""Examples that cannot be learned go to ``<examples topic>.dlq``: the bytes as they are, the reason, where they were.

The headers are those of every dead letter (`streams.dead_letters`), with stage ``learn`` and ``dlq.learner``: what one
learner cannot learn another one may. The source position and the learner are a letter's id.
"""

from __future__ import annotations

from collections.abc import Awaitable

from agents.await_sent import arrived
from agents.context import RoleContext
from agents.dead_letters import source_headers
from definitions.declared import ModelDefinition
from definitions.errors import VectorError
from online_models.errors import LabelRefused, WeightRefused
from streams import topics
from streams.dead_letters import LEARN, printable
from streams.records import Partition, Record, headers_of

UNREADABLE, VECTOR, LABEL, WEIGHT, LEARNER = "unreadable", "vector", "label", "weight", "learner"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (VectorError, VECTOR),
    (LabelRefused, LABEL),
    (WeightRefused, WEIGHT),
)


def reason_of(error: Exception) -> str:
    """Return why an example is dead: what it is that cannot be learned, or ``learner`` where the estimator failed."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), LEARNER)


class ExampleQuarantine:
    """Sends dead examples of one learner; `arrived` is awaited before its row contains them."""

    def __init__(self, context: RoleContext, model: ModelDefinition, learner: str, partition: Partition) -> None:
        self._context = context
        self._model = model
        self._learner = learner
        self._partition = partition
        self._topic = topics.dead_examples(context.namespace, model)
        self._sent: list[Awaitable[int]] = []

    def send(self, record: Record, reason: str, message: str) -> None:
        """Send one now. Nothing is awaited."""
        headers = [*headers_of(record), *self._headers(record, reason, message)]
        producer = self._context.log.producer()
        self._sent.append(producer.produce(self._topic, record.value(), key=record.key(), headers=headers))
        self._context.metrics.count("dead_letters_total", topic=self._partition.topic, reason=reason)

    async def arrived(self) -> None:
        """Return when all that was sent is acknowledged.

        Raises:
            LogUnavailable: one was not, in time. All are sent again when the learner is opened anew.
        """
        sent, self._sent = self._sent, []
        await arrived(sent)

    def _headers(self, record: Record, reason: str, message: str) -> list[tuple[str, bytes]]:
        return [
            *source_headers("dlq", self._partition, record),
            ("dlq.topic_id", self._partition.topic_id.encode()),
            ("dlq.reason", reason.encode()),
            ("dlq.stage", LEARN.encode()),
            ("dlq.path", b""),
            ("dlq.message", printable(message)),
            ("dlq.app", self._context.namespace.encode()),
            ("dlq.event", self._model.key.encode()),
            ("dlq.version", self._model.digest.encode()),
            ("dlq.attempts", b"1"),
            ("dlq.first_seen", str(record.timestamp()[1]).encode()),
            ("dlq.learner", self._learner.encode()),
        ]
