"""The log in memory keeps the promises of a log."""

from __future__ import annotations

import pytest

from agents.transport.in_process import InProcessLog
from tests.contracts.log_contract import LogContract


class TestInProcessLog(LogContract):
    @pytest.fixture
    async def log(self) -> InProcessLog:
        return InProcessLog(max_batch=100)
