"""``python -m headrace``: the same as the ``headrace`` command."""

from __future__ import annotations

from headrace.command import main

main()
