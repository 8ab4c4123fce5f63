"""``headrace matrix``: what it refuses before anything is changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.command import main
from tests.unit.agents.test_answer_candidates import APP, ITEMS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ranks.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text('[tool.headrace]\napp = "ranks"\n')
    np.savez(tmp_path / "good.npz", ids=np.array(ITEMS), rows=np.zeros((10, 2), dtype=np.float32))
    np.savez(tmp_path / "short.npz", ids=np.array(ITEMS), rows=np.zeros((10, 1), dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["rankin", "tastes", "good.npz"], 2, "one of the graphs ranking, got 'rankin'; did you mean 'ranking'?"),
        (["ranking", "taste", "good.npz"], 2, "one of its matrices tastes, got 'taste'; did you mean 'tastes'?"),
        (["ranking", "tastes", "none.npz"], 2, "none.npz: expected a file, got No such file or directory"),
        (["ranking", "tastes", "short.npz"], 1, "expected rows of 2 numbers, got float32 of (10, 1)"),
        (["ranking", "tastes", "pyproject.toml"], 1, "expected a NumPy archive of ids and rows"),
    ],
)
def test_what_cannot_be_put_in_force_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["matrix", *arguments])

    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (code, 1)
    assert text in said
    assert not (folder / ".headrace").exists()
