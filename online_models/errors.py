"""What can go wrong with models.

::

    HeadraceError
    └── OnlineModelsError
        ├── LabelRefused      a label that a learner cannot learn
        ├── WeightRefused     a weight that no example can have
        ├── LearnerUnusable   a declared learner that cannot be built, saved or asked
        ├── AnswerUnreadable  a server's answer that holds no scores
        └── ArtefactRefused   bytes of a snapshot, model, baseline or release that are not loaded
"""

from __future__ import annotations

from definitions.errors import HeadraceError


class OnlineModelsError(HeadraceError):
    """Base of the errors of this room."""


class LabelRefused(OnlineModelsError):  # noqa: N818  # a state of the world, as in the other rooms
    """A label is not what the learner learns: true or false for a classifier, a finite number for a regressor."""


class WeightRefused(OnlineModelsError):  # noqa: N818
    """The value that says how much an example counts is missing or below 0."""


class LearnerUnusable(OnlineModelsError):  # noqa: N818
    """A declared learner cannot be built, saved or asked for a score."""


class AnswerUnreadable(OnlineModelsError):  # noqa: N818
    """A server's answer that is not one score per vector, each of them finite."""


class ArtefactRefused(OnlineModelsError):  # noqa: N818
    """Bytes that are not what their digest or their reader expects. What is not verified is not loaded."""
