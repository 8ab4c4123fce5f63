"""What can go wrong with work on the past.

::

    HeadraceError
    └── BatchError
        ├── BackfillRefused      a view that cannot be built from what the log holds
        ├── ComparisonRefused    two versions of which one does not exist in the store
        ├── HistoryUnavailable   the log did not hand out a record that it should have
        ├── QuestionsRefused     a line of a questions file that no model could be asked
        └── TrainingRefused      a training set or learner that no model can come of
"""

from __future__ import annotations

from definitions.errors import HeadraceError


class BatchError(HeadraceError):
    """Base of the errors of this room."""


class BackfillRefused(BatchError):  # noqa: N818  # as it is spoken of
    """The log or the store no longer holds what the view would have to be built from."""


class ComparisonRefused(BatchError):  # noqa: N818
    """There is nothing to compare: one of the versions has no rows."""


class HistoryUnavailable(BatchError):  # noqa: N818  # a state of the world, as in the other rooms
    """The log did not answer in time, or no longer holds what was asked for."""


class QuestionsRefused(BatchError):  # noqa: N818
    """A line of a questions file is not a question to the model."""


class TrainingRefused(BatchError):  # noqa: N818
    """No model can come of this training set, or of this learner."""
