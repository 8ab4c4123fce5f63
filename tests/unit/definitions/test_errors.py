"""The tree of errors, and the examples of this room."""

from __future__ import annotations

import doctest
import importlib

import pytest

from definitions import errors
from definitions.errors import HeadraceError


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.strip().startswith(("├", "└"))}

    declared = {name for name, each in vars(errors).items() if isinstance(each, type) and each is not HeadraceError}

    assert drawn == declared
    assert all(issubclass(getattr(errors, name), HeadraceError) for name in declared)


@pytest.mark.parametrize("module", ["encoder", "events"])
def test_the_examples_in_the_docstrings_are_true(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"definitions.{module}"))

    assert results.attempted > 0
    assert results.failed == 0
