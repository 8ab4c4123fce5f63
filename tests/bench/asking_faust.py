"""Stock Faust's ``agent.ask`` on the same work: its worker and its caller, in an environment of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Mapping
from typing import Any

from agents.transport.kafka import KafkaLog
from online_models import releases
from streams.topics import TopicConfig
from tests.bench.card_features import forget
from tests.bench.local_kafka import say
from tests.bench.peers import FOLDER, PeerMissing, environment
from tests.bench.scored_project import CHAMPION, Scored
from tests.bench.timing import percentiles

_ASKING_S = 180.0
_STOP_S = 20.0


def measure_faust(made: Scored, release: str, *, rate: int, seconds: float) -> Mapping[str, Any]:
    """Return its percentiles with the release's champion, or why there are none."""
    try:
        python = environment("faust_ask")
    except PeerMissing as error:
        say(str(error))
        return {"faust_missing": str(error)}
    name = f"faust-{uuid.uuid4().hex[:8]}"
    model = made.folder / f"{name}.ubj"
    digest = releases.read_manifest(release, made.artefacts.get).artefacts[CHAMPION].digest
    model.write_bytes(made.artefacts.get(digest))
    told = ["--kafka", made.kafka, "--redis", made.redis, "--name", name, "--model", str(model)]
    command = [str(python), str(FOLDER / "faust_ask" / "run.py"), *told]
    asyncio.run(_create(made.kafka, f"{name}-requests"))
    try:
        found = _asked(command, made, rate=rate, seconds=seconds)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        say(f"no figure of faust: {error}")
        return {"faust_missing": str(error)[:300]}
    finally:
        forget(made.redis, name)
    return {
        **percentiles("faust", found["latencies_ms"]),
        "faust_rate": rate,
        "faust_requests": found["asked"],
        "faust_unanswered": found["unanswered"],
    }


async def _create(kafka: str, topic: str) -> None:
    log = KafkaLog(kafka)
    await log.create_topics([TopicConfig(topic)])
    await log.close()


def _asked(command: list[str], made: Scored, *, rate: int, seconds: float) -> Mapping[str, Any]:
    with (made.folder / "faust.log").open("ab") as log:
        worker = subprocess.Popen([*command, "--kind", "serve"], cwd=made.folder, stdout=log, stderr=log)
        try:
            asking = [*command, "--kind", "ask", "--rate", str(rate), "--seconds", str(seconds)]
            said = subprocess.run(
                asking,
                cwd=made.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
                timeout=_ASKING_S + seconds,
            )
        finally:
            worker.terminate()
            try:
                worker.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
    lines = [line for line in said.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"ended with {said.returncode}: {(made.folder / 'faust.log').read_text()[-500:]}")
    found: Mapping[str, Any] = json.loads(lines[-1])
    return found
