"""What can be wrong with a definition.

::

    HeadraceError
    └── DefinitionError   a declaration that cannot mean anything, refused when it is imported
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of every error that headrace raises on purpose.

    Its text is interface: ``what could not be done: where: expected x, got y; what to do``.
    """


class DefinitionError(HeadraceError):
    """A declaration that cannot mean anything, refused when its module is imported."""
