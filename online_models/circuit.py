"""When a server that fails is not asked any more, and when it is asked again: a circuit breaker as a pure value.

Closed: every call may go. After `FAILURES` in a row it opens: none may go, for a time that doubles from 1 s to 30 s.
Then one call may try; its success closes the circuit, its failure opens it for longer. A call that ended for a reason
that says nothing about the server (its caller had no time) lets the next one try.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FAILURES = 5
FIRST_PAUSE_MS = 1_000.0
LONGEST_PAUSE_MS = 30_000.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of a server's failures. A new one is closed.

    Example:
        >>> circuit = Circuit()
        >>> for _ in range(FAILURES):
        ...     circuit = circuit.ended(0.0, ok=False)
        >>> circuit.allows(999.0), circuit.allows(1_000.0)
        (False, True)
        >>> circuit.begun(1_000.0).allows(1_000.0)
        False
        >>> circuit.begun(1_000.0).ended(1_001.0, ok=True).allows(1_001.0)
        True
    """

    failed: int = 0
    """Calls that failed in a row, since the circuit was last closed."""
    open_until_ms: float | None = None
    """None: it is closed."""
    pause_ms: float = 0.0
    trying: bool = False
    """One call is under way that decides whether it closes."""

    def allows(self, now_ms: float) -> bool:
        """Return whether a call may go now."""
        return self.open_until_ms is None or (now_ms >= self.open_until_ms and not self.trying)

    def begun(self, now_ms: float) -> Circuit:
        """Return the circuit with a call under way that it allowed."""
        return self if self.open_until_ms is None or now_ms < self.open_until_ms else replace(self, trying=True)

    def ended(self, now_ms: float, *, ok: bool | None) -> Circuit:
        """Return the circuit after a call has ended.

        Args:
            now_ms: the caller's clock.
            ok: whether the server answered as it should; None where the call says nothing about that.

        A call that began before the circuit opened may still close it: an answer is an answer.
        """
        if ok:
            return Circuit()
        if ok is None:
            return replace(self, trying=False)
        if self.open_until_ms is None and self.failed + 1 < FAILURES:
            return replace(self, failed=self.failed + 1)
        if self.open_until_ms is not None and not self.trying:
            # Of several calls under way when it opened, each fails once: that is one outage.
            return self
        pause_ms = min(LONGEST_PAUSE_MS, max(FIRST_PAUSE_MS, 2 * self.pause_ms))
        return Circuit(self.failed + 1, now_ms + pause_ms, pause_ms)
