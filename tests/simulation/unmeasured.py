"""Metrics that nobody reads: a third of a schedule's time would go into them."""

from __future__ import annotations

from agents.metrics import Metrics


class Unmeasured(Metrics):
    """Takes every metric and keeps none."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Do nothing."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""
