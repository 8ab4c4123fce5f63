"""What is missing or wrong at the start ends a command in one clear line and its exit code, never in a traceback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.apps.project import QUESTION, Project, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

NOBODY = "127.0.0.1:1"
MOST_S = 60.0  # 5 s for an answer, and the imports of a busy machine
FOUND_A_PROBLEM, WRONG_USAGE, SERVER_MISSING = 1, 2, 3
NEEDS_KAFKA = (
    ("run", "features", "scoring"),
    ("score", "late", "--entity", "origin=JFK", "--input", "distance=1", "--input", "carrier=UA", "--label-key", "F1"),
    ("publish", "{name}.departed", "-"),
    ("audit",),
    ("load", "late", "--rate", "1", "--seconds", "1"),
    ("batch", "train", "late", "--questions", "questions"),
)
NEEDS_REDIS = (
    ("run", "features", "scoring"),
    ("features", "get", "origin_traffic", "JFK"),
    ("features", "list"),
    ("audit",),
    ("batch", "train", "late", "--questions", "questions"),
)
NEEDS_AN_APP = (*NEEDS_KAFKA, ("features", "get", "origin_traffic", "JFK"))


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    (tmp_path / "questions").write_text(json.dumps(dict(QUESTION)) + "\n")
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


@pytest.mark.parametrize("arguments", NEEDS_KAFKA, ids=lambda each: each[0])
def test_kafka_absent_is_said_in_one_line_with_code_3(project: Project, arguments: tuple[str, ...]) -> None:
    line = ending(project, arguments, SERVER_MISSING, HEADRACE_KAFKA=NOBODY)

    assert NOBODY in line
    assert "headrace up" in line or "HEADRACE_KAFKA" in line


@pytest.mark.parametrize("arguments", NEEDS_REDIS, ids=lambda each: " ".join(each[:2]))
def test_redis_absent_is_said_in_one_line_with_code_3(project: Project, arguments: tuple[str, ...]) -> None:
    line = ending(project, arguments, SERVER_MISSING, HEADRACE_REDIS=f"redis://{NOBODY}/0")

    assert NOBODY in line


@pytest.mark.parametrize("arguments", NEEDS_AN_APP, ids=lambda each: each[0])
def test_a_module_that_is_not_there_is_said_in_one_line_with_code_1(
    project: Project, arguments: tuple[str, ...]
) -> None:
    line = ending(project, ("--app", "ap", *arguments), FOUND_A_PROBLEM)

    assert "no module 'ap'" in line


@pytest.mark.parametrize("arguments", NEEDS_AN_APP, ids=lambda each: each[0])
def test_a_setting_of_an_unknown_name_is_wrong_usage(project: Project, arguments: tuple[str, ...]) -> None:
    line = ending(project, arguments, WRONG_USAGE, HEADRACE_KAFAK="127.0.0.1:9092")

    assert "HEADRACE_KAFAK" in line
    assert "did you mean 'HEADRACE_KAFKA'?" in line


def test_what_is_wrong_with_a_declaration_is_said_with_its_line(project: Project) -> None:
    source = (project.folder / "app.py").read_text()
    (project.folder / "app.py").write_text(source.replace('over("1h", "24h")', 'over("1x")'))

    line = ending(project, ("run", "features"), FOUND_A_PROBLEM)

    assert "app.py:" in line
    assert "1x" in line


def test_a_settings_file_that_is_no_toml_is_wrong_usage(project: Project) -> None:
    (project.folder / "pyproject.toml").write_text("[tool.headrace\n")

    assert "pyproject.toml" in ending(project, ("run", "features"), WRONG_USAGE)


def ending(project: Project, arguments: tuple[str, ...], code: int, **environment: str) -> str:
    """Run a command that has to end badly; return the one line that it says."""
    began_s = time.monotonic()
    said = project.command(*(each.format(name=project.name) for each in arguments), **environment)
    took_s = time.monotonic() - began_s
    assert "Traceback" not in said.stderr
    assert said.returncode == code, said.stderr
    [line] = said.stderr.splitlines()
    assert line.startswith("headrace: ")
    assert took_s < MOST_S
    return line
