"""What is done to a features deployment while events flow. Each returns when every record is accounted for."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from itertools import product

import redis

from headrace import servers
from headrace.servers import redis as redis_server
from tests.chaos.crash import COPY_POINTS, HITS, POINTS
from tests.chaos.stage import ChaosError, Stage, serve
from tests.chaos.workers import Workers

FROZEN_S = 11.0
"""Longer than the 6 s after which the group gives a silent member's partitions to others."""

_TRIES = 5
_TRAPPED_S = 8.0
"""How long a process that has begun may take to come to its trap: to be given partitions, to read."""

Scenario = Callable[[Stage, int, int], int]
"""Plays with (stage, events, how much trouble); returns how many processes were killed."""


def kills(stage: Stage, events: int, trouble: int) -> int:
    """Kill -9 one of three processes after another, at random moments of a steady stream."""
    with Workers(stage) as workers:
        for moment in _spread(stage, events, trouble):
            stage.publish(moment, over_s=moment / 4_000)
            workers.kill(stage.chance.choice(workers.running))
            workers.refill()
            time.sleep(stage.chance.uniform(0.0, 1.5))
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return workers.kills


def crash_points(stage: Stage, events: int, trouble: int) -> int:
    """Let a process kill itself at each named point, at the first, the second and the last time it comes there."""
    named = list(product(COPY_POINTS if stage.rekeyed else POINTS, HITS))
    stage.chance.shuffle(named)
    chosen = sorted(named[:trouble], key=lambda each: each[1] == "last")
    with Workers(stage, count=2) as workers:
        stage.publish(events)
        for point, hit in chosen:
            _crash(stage, workers, point, hit)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return workers.kills


def _crash(stage: Stage, workers: Workers, point: str, hit: str) -> None:
    """Start a process with a trap and give it reasons to come there, until it does."""
    for _ in range(_TRIES):
        (stage.folder / "ends.json").unlink(missing_ok=True)
        trapped = workers.start(point, hit)
        workers.until_begun(trapped)
        until_s = time.monotonic() + _TRAPPED_S
        while time.monotonic() < until_s and trapped.poll() is None:
            stage.publish_tail()
            time.sleep(0.5)
        code = workers.end(trapped)  # which is what it takes to come to the revocation
        if code == -signal.SIGKILL:
            workers.kills += 1
            return
        if code:
            raise ChaosError(f"{point} {hit}: expected SIGKILL, got {code}: {workers.said()[-2_000:]}")
    raise ChaosError(f"{point} {hit}: the process never came there in {_TRIES} tries")


def redis_killed(stage: Stage, events: int, trouble: int) -> int:
    """Kill -9 Redis while three processes write, and start it again on what its append-only file holds."""
    with Workers(stage) as workers:
        for part in _spread(stage, events, trouble):
            stage.publish(part, over_s=part / 10_000)
            _kill_redis(stage)
            time.sleep(stage.chance.uniform(0.1, 1.0))
            serve(stage.home)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return trouble


def redis_rolled_back(stage: Stage, events: int, trouble: int) -> int:
    """Put Redis back to an older state while three processes live and cache what it will have forgotten."""
    data = stage.home / servers.FOLDER / "redis" / "data"
    with Workers(stage) as workers:
        stage.publish(events // 4)
        stage.until_read(1)
        for part in _spread(stage, events - stage.published, trouble):
            older = stage.folder / "older"
            shutil.copytree(data, older)
            stage.publish(part, over_s=part / 10_000)
            _kill_redis(stage)
            shutil.rmtree(data)
            older.rename(data)
            serve(stage.home)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return trouble


def stale_replica(stage: Stage, events: int, trouble: int) -> int:
    """Promote a replica that has lost its primary some time ago, at the primary's address."""
    own, second = stage.home / servers.FOLDER / "redis", stage.folder / "replica"
    with Workers(stage) as workers:
        for part in _spread(stage, events, trouble):
            _, url = redis_server.start(second)
            replica, primary = redis.Redis.from_url(url), redis.Redis.from_url(stage.redis)
            at = primary.connection_pool.connection_kwargs
            replica.slaveof(at["host"], at["port"])
            stage.publish(part // 2)
            stage.until(lambda known=replica: known.info()["master_link_status"] == "up", "a replica in step")  # type: ignore[misc]
            replica.slaveof()
            stage.publish(part - part // 2, over_s=part / 20_000)
            replica.close()
            primary.close()
            redis_server.stop(second)
            _kill_redis(stage)
            shutil.rmtree(own / "data")
            (second / "data").rename(own / "data")
            shutil.rmtree(second)
            serve(stage.home)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return trouble


def rebalance_storm(stage: Stage, events: int, trouble: int) -> int:
    """Let processes come and go every few seconds, politely."""
    with Workers(stage) as workers:
        for part in _spread(stage, events, trouble):
            stage.publish(part, over_s=stage.chance.uniform(0.5, 3.0))
            if len(workers.running) < 3 or stage.chance.random() < 0.4:
                workers.start()
            elif workers.end(stage.chance.choice(workers.running)):
                raise ChaosError(f"a process did not end with 0: {workers.said()[-2_000:]}")
        workers.refill()
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return 0


def frozen_owner(stage: Stage, events: int, trouble: int) -> int:
    """Stop an owner for longer than the group waits for it, and let it go on with what it had in hand."""
    with Workers(stage) as workers:
        for part in _spread(stage, events, trouble):
            before = stage.published
            stage.publish(part // 2)
            stage.until_read(before + part // 4)
            os.kill((frozen := stage.chance.choice(workers.running)).pid, signal.SIGSTOP)
            try:
                stage.publish(part - part // 2, over_s=FROZEN_S)
            finally:
                os.kill(frozen.pid, signal.SIGCONT)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return 0


def rolling_deploy(stage: Stage, events: int, trouble: int) -> int:  # noqa: ARG001  # a `Scenario`
    """Add a view by replacing the processes one by one, then let it read the log from its beginning."""
    stage.declare(shops=False)
    with Workers(stage) as workers:
        stage.publish(events // 2, over_s=events / 40_000)
        stage.declare(shops=True)
        for old in list(workers.running):
            workers.start()
            stage.publish(events // 8, over_s=2.0)
            if workers.end(old):
                raise ChaosError(f"a process did not end with 0: {workers.said()[-2_000:]}")
        said = stage.headrace("features", "backfill", "shops", "--json")
        if said.returncode:
            raise ChaosError(f"headrace features backfill: {said.stderr}")
        stage.publish(events - stage.published)
        stage.until_read()
        workers.check_alive()
        workers.end_all()
        return 0


def _kill_redis(stage: Stage) -> None:
    pid = servers.pids(stage.home)["redis"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _spread(stage: Stage, events: int, parts: int) -> list[int]:
    """Return how many events come before each trouble, and after the last."""
    places = sorted(stage.chance.sample(range(1, events), parts - 1))
    return [end - begin for begin, end in zip([0, *places], [*places, events], strict=True)]


ALL: Mapping[str, tuple[Scenario, int]] = {
    "kills": (kills, 50),
    "crash-points": (crash_points, len(POINTS) * len(HITS)),
    "redis-killed": (redis_killed, 4),
    "redis-rolled-back": (redis_rolled_back, 4),
    "stale-replica": (stale_replica, 2),
    "rebalance-storm": (rebalance_storm, 15),
    "frozen-owner": (frozen_owner, 2),
    "rolling-deploy": (rolling_deploy, 1),
    "rekeyed-crash-points": (crash_points, len(COPY_POINTS) * len(HITS)),
    "rekeyed-kills": (kills, 10),
    "rekeyed-rolled-back": (redis_rolled_back, 2),
}
"""Every scenario, and how much trouble the full run makes in it."""

REKEYED = tuple(name for name in ALL if name.startswith("rekeyed"))
"""Scenarios with a view that reads copies."""

GOES_BACK = ("redis-rolled-back", "stale-replica", "rekeyed-rolled-back")
"""Scenarios in which the store forgets what living processes wrote: some of their writes have to be refused."""
