"""What can go wrong at the front door.

::

    HeadraceError
    ├── UsageError         the command was called in a way that cannot mean anything: exit code 2
    │   └── SettingsError  a setting that is unknown or cannot be used
    └── ServerMissing      a server that is needed is not there: exit code 3
"""

from __future__ import annotations

from definitions.errors import HeadraceError


class UsageError(HeadraceError):
    """The command was called in a way that cannot mean anything."""


class SettingsError(UsageError):
    """A setting is unknown, or its value cannot be used."""


class ServerMissing(HeadraceError):  # noqa: N818  # a state of the world, as StoreUnavailable is
    """A server that is needed is not there, or could not be started."""
