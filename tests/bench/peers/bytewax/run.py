"""Bytewax: three ``fold_window`` by event time, unordered, without recovery. Both are kinder to it than their opposite.

Its consumer is tuned like the floor's, and reads 10,000 records at a time: at its default of 1,000 it is slower.
Events are counted where the last window folds them, for it reads further than it folds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.run import cli_main
from bytewax.testing import TestingSink
from meter import WINDOWS_MS, Meter, arguments

DISORDER = timedelta(seconds=5)


class Payment(msgspec.Struct, gc=False):
    """What the features read of an event."""

    card: str
    amount: float
    at: int


Cell = list[float]
decode = msgspec.json.Decoder(Payment).decode


def keyed(message: KafkaSourceMessage) -> tuple[str, Payment]:
    """Return a payment under its card."""
    payment = decode(message.value)
    return payment.card, payment


def at_of(payment: Payment) -> datetime:
    """Return when a payment happened."""
    return datetime.fromtimestamp(payment.at / 1_000, UTC)


def nothing() -> Cell:
    """Return count and sum of an empty window."""
    return [0, 0.0]


def added(cell: Cell, payment: Payment) -> Cell:
    """Return count and sum after one more payment."""
    cell[0] += 1
    cell[1] += payment.amount
    return cell


def merged(one: Cell, other: Cell) -> Cell:
    """Return count and sum of two windows together; tumbling windows never need it."""
    return [one[0] + other[0], one[1] + other[1]]


def main() -> None:
    """Fold the topic."""
    asked = arguments()
    meter = Meter(asked.events, asked.seconds)
    flow = Dataflow("payments")
    tuned = {"queued.min.messages": "400000", "fetch.queue.backoff.ms": "5"}
    source = KafkaSource([asked.kafka], [asked.topic], tail=False, add_config=tuned, batch_size=10_000)
    payments = op.map("keyed", op.input("in", flow, source), keyed)
    clock = EventClock(ts_getter=at_of, wait_for_system_duration=DISORDER)

    def added_and_counted(cell: Cell, payment: Payment) -> Cell:
        meter.add()
        return added(cell, payment)

    for length in WINDOWS_MS:
        last = length == WINDOWS_MS[-1]
        windower = TumblingWindower(timedelta(milliseconds=length), align_to=datetime(2026, 1, 1, tzinfo=UTC))
        folder = added_and_counted if last else added
        name = f"window_{length // 60_000}"
        window = fold_window(name, payments, clock, windower, nothing, folder, merged, ordered=False)
        op.output(f"{name}_out", window.down, TestingSink([]))
    cli_main(flow)
    meter.end()


if __name__ == "__main__":
    main()
