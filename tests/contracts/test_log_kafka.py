"""Kafka keeps the promises of a log, with both group protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agents.transport.kafka import KafkaLog
from tests.contracts.log_contract import LogContract


@pytest.mark.kafka
class TestKafkaLog(LogContract):
    @pytest.fixture(params=["consumer", "classic"])
    async def log(self, kafka: str, request: pytest.FixtureRequest) -> AsyncIterator[KafkaLog]:
        log = KafkaLog(kafka, {"group.protocol": request.param})
        yield log
        await log.close()
