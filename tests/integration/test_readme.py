"""The README's section "Ask for a score", run as it stands: only addresses, namespace and budget are replaced."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from definitions.declared import ModelDefinition
from tests.apps.project import Project, write_project
from tests.builders import declare
from tests.integration.test_gateway import need_curl, open_door
from tests.java import Java, spring_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
DEADLINE_S = 180.0
CARRIER = '        hr.request("carrier", str),\n'


class AsInTheReadme(Project):
    """A project whose model asks for what the README's does."""

    @property
    def model(self) -> ModelDefinition:
        """The model ``late`` as the project declares it."""
        found: ModelDefinition = declare((self.folder / "app.py").read_text())["Late"].definition
        return found


def block(language: str, words: str) -> str:
    """Return the one block of the section in a language that has some words in it."""
    section = README.partition("\n## Ask for a score\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    [found] = [each for each in blocks if words in each]
    return str(found)


def here(text: str, project: Project, door: str = "http://127.0.0.1:8700") -> str:
    """Return a block for this machine: its servers, the project's namespace, and a budget for a busy one."""
    text = text.replace("127.0.0.1:9092", project.kafka).replace("http://127.0.0.1:8700", door)
    text = re.sub(r"(timeout_ms\"?[=:] ?)500\b", r"\g<1>20000", text).replace('"500"', '"20000"')
    text = text.replace("ofMillis(1_000)", "ofMillis(25_000)")
    return text.replace('"flights', f'"{project.name}').replace("--app my_app", "--app app")


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder; return what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    said = subprocess.run(
        command, cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True, check=False,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> Iterator[Project]:
    """Return a project whose scoring role serves a release."""
    folder, name = tmp_path_factory.mktemp("project"), f"readme-{uuid.uuid4().hex[:12]}"
    written = write_project(folder, name, kafka=kafka, redis=redis_url)
    source = (folder / "app.py").read_text()
    assert CARRIER in source
    (folder / "app.py").write_text(source.replace(CARRIER, ""))
    project = AsInTheReadme(written.folder, written.name, written.kafka)
    with project.running("scoring"):
        project.served("scoring", 2)
        project.deploy()
        yield project


@pytest.fixture(scope="module")
def java() -> Java:
    """Return a Java with Spring-Kafka's jars."""
    return spring_kafka()


def test_the_python_example_is_answered(project: Project, tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(here(block("python", "SyncScoringClient"), project))

    first, second = run(sys.executable, str(tmp_path / "ask.py"), folder=tmp_path).splitlines()
    assert re.match(r"(ok|degraded) \{'online': [\d.e-]+\} \[Version\(", first)
    assert re.fullmatch(r"\['(ok|degraded)', '(ok|degraded)'\]", second)


def test_the_shell_example_is_answered(project: Project) -> None:
    lines = here(block("bash", "headrace --app"), project).strip().splitlines()
    score, load = (line.replace("headrace", f"{sys.executable} -m headrace", 1) for line in lines)

    reply = json.loads(run("bash", "-c", f"{score} --timeout-ms 20000", folder=project.folder))
    assert "online" in reply["scores"]
    seen = json.loads(run("bash", "-c", f"{load} --timeout-ms 20000 --json", folder=project.folder))
    assert seen["replies"]["ok"] + seen["replies"]["degraded"] == seen["requests"] == 400
    assert seen["unanswered"] == 0


def test_the_java_example_is_answered(project: Project, java: Java, tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(here(block("java", "ReplyingKafkaTemplate"), project))

    said = java.run(tmp_path / "Ask.java", into=tmp_path)
    assert said.returncode == 0, said.stderr[-3_000:]
    assert "online" in json.loads(said.stdout)["scores"]


def test_the_curl_example_is_answered(project: Project) -> None:
    need_curl()
    with open_door(project) as url:
        answer = json.loads(run("bash", "-c", here(block("bash", "curl"), project, url), folder=project.folder))

    outputs = {each["name"]: each["data"] for each in answer["outputs"]}
    assert (outputs["learner"], outputs["status"][0] in {"ok", "degraded"}) == (["online"], True)
