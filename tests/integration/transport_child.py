"""A process that hosts one role on Kafka until SIGTERM: ``python -m tests.integration.transport_child``."""

from __future__ import annotations

import asyncio
import signal
import sys

from agents.host import host
from agents.metrics import Metrics
from agents.transport.kafka import KafkaLog
from tests.integration.test_transport_kafka import Role


async def main(bootstrap: str, topic: str, slow_s: float) -> None:
    """Host the role, slowed down by ``slow_s`` seconds a batch."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = KafkaLog(bootstrap)
    await host(log, Role(topic, slow_s=slow_s, say=True), stop=stop, metrics=Metrics("test"))
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
