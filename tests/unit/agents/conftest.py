"""What several tests of the scoring role begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from definitions.declared import ModelDefinition
from tests.releases import release
from tests.unit.agents.test_score import Scoring


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Any]:
    """Yield what starts a scoring role that has a release of a model in force; all are stopped at the end."""
    running: list[Scoring] = []

    async def start(definition: ModelDefinition) -> Scoring:
        scoring = Scoring(definition, tmp_path)
        running.append(scoring)
        await scoring.start()
        await scoring.deploy(release(definition, scoring.artefacts))
        return scoring

    yield start
    for scoring in running:
        await scoring.member.stop(5.0)
