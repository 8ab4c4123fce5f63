"""What can end the demo early, in one line."""

from __future__ import annotations

from definitions.errors import HeadraceError


class DemoStuck(HeadraceError):  # noqa: N818  # a state of the world
    """A role does not come on, or has ended."""


class DemoRefused(HeadraceError):  # noqa: N818  # a state of the world
    """The demo cannot begin where it was told to run."""
