"""Quix Streams: three tumbling windows in RocksDB with changelogs, at least once, given as final or as current values.

Its consumer is tuned like the floor's.
"""

from __future__ import annotations

import tempfile
import uuid

from meter import WINDOWS_MS, Meter, arguments
from quixstreams import Application
from quixstreams.dataframe.windows import Count, Sum

DISORDER_MS = 5_000


def main() -> None:
    """Fold the topic."""
    asked = arguments()
    meter = Meter(asked.events, asked.seconds)
    app = Application(
        broker_address=asked.kafka,
        consumer_group=f"quix-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        consumer_extra_config={"queued.min.messages": 400_000, "fetch.queue.backoff.ms": 5},
        loglevel="WARNING",
    )
    topic = app.topic(
        asked.topic,
        value_deserializer="json",
        timestamp_extractor=lambda value, *_: value["at"],
        key_deserializer="str",
    )
    payments = app.dataframe(topic)
    for length in WINDOWS_MS:
        window = payments.tumbling_window(length, grace_ms=DISORDER_MS).agg(n=Count(), spent=Sum("amount"))
        _ = window.final() if asked.kind == "final" else window.current()
    payments.update(lambda _: meter.add())
    app.run()


if __name__ == "__main__":
    main()
