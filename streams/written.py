"""Functions that are written out as text for one definition, in place of a loop over what it declares.

`streams.folding`, `streams.windows` and `streams.ages` write them; the text is always their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import CodeType
from typing import Any


def written(name: str, source: str, given: Mapping[str, Any], *, of: str) -> Any:
    """Return the function called ``name`` that a text defines.

    Args:
        name: the function's.
        source: the text.
        given: what the text names and does not define.
        of: what it is, for tracebacks: ``the windows of cards.v1``.

    Cost: 3 ms the first time that a process meets the text.
    """
    names = dict(given)
    exec(_code(source, of), names)  # noqa: S102  # this package's text
    return names[name]


@lru_cache(maxsize=768)
def _code(source: str, of: str) -> CodeType:
    return compile(source, f"<{of}>", "exec")
