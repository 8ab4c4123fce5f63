"""What the documents say can be done, can be done: commands, make targets and files that they name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.command import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "docs/wire-format.md", "docs/learning.md")

_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_MAKE = re.compile(r"(?:^|[\s$])make ([a-z-]+)")
_HEADRACE = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?headrace (?:--app \S+ )?([a-z]+)")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?\.?(?:py|lua|md|toml|yml|xml|txt|properties)")
_IN_A_MAP = re.compile(r"^\s*([\w.-]+/[\w./-]*)(?:\s|$)")


def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


def code_of(document: str) -> Iterator[str]:
    """Yield each line of fenced code and each piece of inline code."""
    text = text_of(document)
    for block in _FENCED.findall(text):
        yield from block.splitlines()
    yield from _INLINE.findall(_FENCED.sub("", text))


def is_there(path: str) -> bool:
    """Modules may be named without their ending; what is made under `.headrace/` is not in the repository."""
    return path.startswith(".headrace") or (REPOSITORY / path).exists() or (REPOSITORY / f"{path}.py").is_file()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    named = {name for line in code_of(document) for name in _MAKE.findall(line)}

    assert named - targets() == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_exists(document: str) -> None:
    named = {found[1] for line in code_of(document) if (found := _HEADRACE.match(line))}

    assert named - set(COMMANDS) == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_exists(document: str) -> None:
    code = list(code_of(document))
    paths = {line for line in code if _FILE.fullmatch(line) and "/" in line}
    paths |= {found[1] for line in code if (found := _IN_A_MAP.match(line)) and "//" not in line}

    assert {path for path in paths if not is_there(path)} == set()


def test_the_readme_starts_with_the_two_commands() -> None:
    named = {name for line in code_of("README.md") for name in _MAKE.findall(line)}

    assert {"demo", "test"} <= named


def test_help_lists_every_target_that_people_call() -> None:
    lines = text_of("Makefile").splitlines()
    documented = {line.partition(":")[0] for line in lines if re.match(r"[a-z-]+:.*  ## ", line)}

    assert targets() - documented == {"format-check"}
