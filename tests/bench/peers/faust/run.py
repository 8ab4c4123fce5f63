"""Stock Faust: one windowed table per window, in memory, changelogs on, count and sum in one value.

One value for both is kinder to it than a table each. No web server and no leader topic: neither is measured.
"""

from __future__ import annotations

import tempfile
import uuid

import faust
from meter import WINDOWS_MS, Meter, arguments

PARTITIONS = 4


class Payment(faust.Record, serializer="json"):
    """What the features read of an event."""

    card: str
    amount: float
    at: int


def added(held: list[float], more: tuple[int, float]) -> list[float]:
    """Return count and sum after one more event."""
    return [held[0] + more[0], held[1] + more[1]]


def nothing() -> list[float]:
    """Return count and sum of an empty window."""
    return [0, 0.0]


def seconds_of(event: faust.types.EventT) -> float:
    """Return when an event happened."""
    return event.value.at / 1_000


asked = arguments()
meter = Meter(asked.events, asked.seconds)
app = faust.App(
    f"faust-{uuid.uuid4().hex[:8]}",  # a dead member would hold an older group for its session
    broker=f"kafka://{asked.kafka}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    datadir=tempfile.mkdtemp(),
)
tables = [
    app.Table(f"window_{length // 60_000}", default=nothing, partitions=PARTITIONS)
    .tumbling(length / 1_000)
    .relative_to(seconds_of)
    for length in WINDOWS_MS
]


@app.agent(app.topic(asked.topic, value_type=Payment))
async def fold(payments: faust.StreamT[Payment]) -> None:
    """Add each payment to its three windows."""
    async for payment in payments:
        more = (1, payment.amount)
        for table in tables:
            table[payment.card].apply(added, more)
        meter.add()


if __name__ == "__main__":
    app.finalize()
    faust.Worker(app, loglevel="error").execute_from_commandline()
