"""What can go wrong between the log and the store.

::

    HeadraceError
    └── StreamsError
        ├── DecodeError       bytes that are not the declared event: a dead letter
        ├── StoreError
        │   ├── StoreUnavailable   no answer, or not in time: wait, or answer without the store
        │   └── ChainBroken        the row's mark is not the one expected: forget, re-read, rewind
        ├── RegistryUnavailable  nobody can say which schema a record was written with: wait
        ├── CodecMissing      a codec without its package or its registry
        ├── SwitchRefused     a version of a view that cannot be put in force, or not be removed
        ├── Gap               a batch that does not follow what the state contains
        ├── ArtefactError     an artefact that is absent or does not have its digest
        └── Unanswerable      a question older than what is retained
"""

from __future__ import annotations

from definitions.errors import HeadraceError


class StreamsError(HeadraceError):
    """Base of the errors of this room."""


class DecodeError(StreamsError):
    """Bytes that are not the declared event.

    ``reason`` is one of the dead-letter reasons of `streams.codecs`; ``path`` is where in the value, as ``$.field``.
    """

    def __init__(self, reason: str, path: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.path = path


class StoreError(StreamsError):
    """Base of what the online store raises."""


class StoreUnavailable(StoreError):  # noqa: N818  # a state of the world, named as callers speak of it
    """The store did not answer, or not in time. What was asked may or may not have happened."""


class ChainBroken(StoreError):  # noqa: N818
    """A write was refused, because the row holds another mark than the one the writer left there."""


class RegistryUnavailable(StreamsError):  # noqa: N818  # the registry's StoreUnavailable
    """The schema registry did not answer, or not as one does. Records that need it wait; none of them is bad for it."""


class CodecMissing(StreamsError):  # noqa: N818  # named as it is spoken of
    """An event's codec needs a package that is not installed, or a schema registry that nobody named."""


class SwitchRefused(StreamsError):  # noqa: N818
    """A version of a view cannot be put in force, or not be removed, as things stand."""


class Gap(StreamsError):  # noqa: N818  # named as it is spoken of
    """A batch begins behind the next offset of the state it is given to: records in between would be lost."""


class ArtefactError(StreamsError):
    """An artefact is absent, or its bytes do not have the digest that names them."""


class Unanswerable(StreamsError):  # noqa: N818
    """A question about a time whose tiles are no longer retained."""
