"""Java programs of the tests: their jars by Maven, once, and compiled by a compiler that any Java 17 runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace import servers
from headrace.servers import processes
from headrace.servers.kafka import JAVA, java_version

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "tests" / "integration" / "java"
DEADLINE_S = 90.0


@dataclass(frozen=True)
class Java:
    """A Java with jars beside it."""

    jars: Path

    def run(self, source: Path, *arguments: str, into: Path) -> subprocess.CompletedProcess[str]:
        """Compile one file with a public class into a folder, and run the class to its end."""
        compiler = ["-jar", str(next(self.jars.glob("ecj-*.jar"))), "-17", "-nowarn", "-proc:none"]
        listed = ":".join(map(str, self.jars.glob("*.jar")))  # the compiler knows no wildcards
        compiled = _java(*compiler, "-cp", listed, "-d", str(into), str(source))
        assert compiled.returncode == 0, compiled.stdout + compiled.stderr
        light = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return _java(*light, "-cp", f"{into}:{self.jars}/*", source.stem, *arguments)


def spring_kafka() -> Java:
    """Return a Java with Spring-Kafka's jars; skip the test where there is none, with CI=true fail it."""
    obstacle = _obstacle()
    jars = REPOSITORY / servers.FOLDER / "spring-kafka" / "jars"
    jars.parent.mkdir(parents=True, exist_ok=True)
    with processes.one_at_a_time(jars.with_name("jars.lock")):
        mark, digest = jars / "pom.sha256", hashlib.sha256((FOLDER / "pom.xml").read_bytes()).hexdigest()
        if obstacle is None and not (mark.is_file() and mark.read_text() == digest):
            obstacle = _fetch(jars, digest)
    if obstacle is not None:
        line = f"cannot run Spring-Kafka: {obstacle}"
        if os.environ.get("CI") == "true":
            pytest.fail(line, pytrace=False)
        pytest.skip(line)
    return Java(jars)


def _obstacle() -> str | None:
    version = java_version()
    if version is None or version < JAVA:
        return f"expected Java {JAVA} on the PATH, got {version or 'none'}; install it"
    return None if shutil.which("mvn") else "expected mvn on the PATH, got none; install Maven"


def _fetch(jars: Path, digest: str) -> str | None:
    """Bring the jars, all or nothing; return why not."""
    unfinished = jars.with_name(f"jars.{uuid.uuid4().hex[:8]}")
    fetch = ["mvn", "-q", "-B", "-f", str(FOLDER / "pom.xml"), "dependency:copy-dependencies"]
    said = subprocess.run(
        [*fetch, f"-DoutputDirectory={unfinished}"], capture_output=True, text=True, check=False, timeout=600
    )
    if said.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        return f"mvn: {said.stdout[-300:]}; check the network"
    (unfinished / "pom.sha256").write_text(digest)
    shutil.rmtree(jars, ignore_errors=True)
    unfinished.rename(jars)
    return None


def _java(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["java", *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE_S)
