"""The command's edge: what it lists, how a mistake ends, and what goes to which output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.transport import LogUnavailable
from definitions.errors import DefinitionError
from headrace.command import COMMANDS, main
from headrace.command.ending import end_with_a_line, exit_code
from headrace.command.publish import key_of
from headrace.errors import ServerMissing, SettingsError, UsageError
from streams.errors import CodecMissing, RegistryUnavailable, StoreUnavailable
from tests.builders import event_definition


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty project, with nothing configured."""
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA", "REDIS", "APP", "SUBSTRATE"):
        monkeypatch.delenv(f"HEADRACE_{name}", raising=False)
    return tmp_path


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--help") == 0

    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)


def test_a_command_has_its_own_page_and_an_option_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("publish", "--help") == 0

    page = capsys.readouterr().out
    assert "TOPIC" in page
    assert "FILE" in page
    assert "--json" in page


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("upp") == 2

    assert "upp" in capsys.readouterr().err


def test_an_unknown_setting_is_wrong_usage_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_KAFAK", "x")

    assert code_of("down") == 0  # it needs no settings
    assert code_of("up") == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "did you mean 'HEADRACE_KAFKA'?" in said


def test_a_run_without_definitions_says_how_to_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "features") == 2

    assert "--app" in capsys.readouterr().err


def test_json_has_the_answer_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("down", "--json") == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"stopped": []}
    assert captured.err == "nothing was up\n"


def test_doctor_reports_what_is_missing_and_finds_no_problem_in_what_is_not_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))

    assert code_of("doctor", "--json") == 1
    missing = {each["name"]: each for each in json.loads(capsys.readouterr().out)["findings"] if not each["ok"]}
    monkeypatch.setenv("HEADRACE_SUBSTRATE", "in-process")
    assert code_of("doctor") == 0

    assert missing["java"]["needed"]
    assert "openjdk-17" in missing["java"]["mend"]
    assert not missing["docker"]["needed"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (SettingsError("x"), 2),
        (ServerMissing("x"), 3),
        (LogUnavailable("x"), 3),
        (StoreUnavailable("x"), 3),
        (RegistryUnavailable("x"), 3),
        (CodecMissing("x"), 1),
        (DefinitionError("x"), 1),
        (RuntimeError("x"), None),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int | None) -> None:
    assert exit_code(error) == code


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        end_with_a_line(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"origin": "JFK", "dest": "LAX"}', b'["JFK","LAX"]'),
        (b'{"origin": "JFK", "dest": 7}', b'["JFK",7]'),
        (b'{"origin": "JFK"}', None),
        (b'{"origin": "JFK", "dest": null}', None),
        (b'{"origin": "JFK", "dest": true}', None),
        (b'{"origin": "JFK", "dest": 1.5}', None),
        (b'["JFK", "LAX"]', None),
        (b"not json", None),
        (b"\xff", None),
    ],
)
def test_a_line_is_keyed_by_the_events_key_or_not_at_all(line: bytes, key: bytes | None) -> None:
    event = event_definition(key=("origin", "dest"))

    assert key_of(event, line) == key
