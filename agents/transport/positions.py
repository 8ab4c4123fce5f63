"""Where a member may resume: inside the log, or not at all."""

from __future__ import annotations

from agents.transport import Assigned, StartAt
from definitions.errors import HeadraceError

RESOLVED_BY = (
    "restore the topic, run `headrace repair {topic}`, or begin anew under another namespace (HEADRACE_NAMESPACE)"
)


class PositionOutsideLog(HeadraceError):  # noqa: N818  # a state of the world
    """A resume position that the log does not reach: records between are lost, or the log is another one."""

    def __init__(self, message: str, first: int, end: int) -> None:
        super().__init__(message)
        self.first = first
        self.end = end


def inside_log(given: Assigned, position: int) -> int:
    """Return ``position`` if the partition can be read from there.

    Raises:
        PositionOutsideLog: it is before the oldest retained record, or after the end.
    """
    if given.first <= position <= given.end:
        return position
    raise outside_log(given, position)


def outside_log(given: Assigned, position: int) -> PositionOutsideLog:
    """Return the error that says why the partition stands still, and the command that resolves it."""
    where = f"{given.partition.topic}[{given.partition.index}]"
    return PositionOutsideLog(
        f"cannot resume: {where}: expected a position in {given.first}..{given.end}, got {position}; "
        + RESOLVED_BY.format(topic=given.partition.topic),
        given.first,
        given.end,
    )


def hinted(given: Assigned, start: StartAt) -> int:
    """Return where to go on by the group's hint, for a role that keeps no position of its own.

    A hint that the log no longer reaches is brought to its nearest bound; without a hint ``start`` decides.
    """
    if given.committed is None:
        return given.first if start is StartAt.FIRST else given.end
    return min(max(given.committed, given.first), given.end)
