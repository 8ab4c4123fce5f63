"""``foreign_producer.py BOOTSTRAP TOPIC``: publish standard input under a header whose name is no UTF-8.

Kafka's own clients for Python refuse such names; those of languages whose strings are bytes do not.
"""

from __future__ import annotations

import asyncio
import sys

from aiokafka import AIOKafkaProducer


class _Name(str):
    """A header name whose encoding is no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


async def _publish(bootstrap: str, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, headers=headers)
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(_publish(sys.argv[1], sys.argv[2], sys.stdin.buffer.read(), [(_Name("name"), b"value")]))
