"""The pointers that concern one online learner: who trains, teaches, steers or serves it has to name them alike."""

from __future__ import annotations


def learner_pointer(model_key: str, learner: str) -> str:
    """Return the name of the pointer to the learner's newest snapshot."""
    return f"model.{model_key}.{learner}"


def command_pointer(model_key: str, learner: str) -> str:
    """Return the name of the pointer that says whether the learner is paused."""
    return f"learning.{model_key}.{learner}"
