"""What can be wrong with a definition, or with the values that are handed to one.

::

    HeadraceError
    ├── DefinitionError   a declaration that cannot mean anything, refused when it is imported
    ├── AppNotLoaded      an author's module that cannot be imported, or declares nothing
    ├── NotDeclared       a name that the app does not declare
    └── VectorError       a vector that a model must not see: a wrong length or type, a number that is not finite
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of every error that headrace raises on purpose.

    Its text is interface: ``what could not be done: where: expected x, got y; what to do``.
    """


class DefinitionError(HeadraceError):
    """A declaration that cannot mean anything, refused when its module is imported."""


class AppNotLoaded(HeadraceError):  # noqa: N818  # a state of the world, named as people speak of it
    """The author's module cannot be imported, or declares nothing."""


class NotDeclared(HeadraceError):  # noqa: N818
    """A name that the app does not declare; the text lists those it does."""


class VectorError(HeadraceError):
    """A vector that a model must not see, because it would poison it or be misread."""
