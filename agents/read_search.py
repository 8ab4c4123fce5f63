"""Reads how far the searches among a model's learners have come, from their newest snapshots."""

from __future__ import annotations

from definitions.declared import ModelDefinition
from online_models.learners.restoring import ONLINE
from online_models.searching import Standing, standing_in
from streams.artefacts import ArtefactStore
from streams.pointers import learner_pointer
from streams.store import OnlineStore, Question


def read_searches(store: OnlineStore, artefacts: ArtefactStore, model: ModelDefinition) -> dict[str, Standing]:
    """Return how far each learner has come that searches and has a snapshot.

    Raises:
        StoreUnavailable: the store did not answer.
        ArtefactError: a snapshot could not be read.
        ArtefactRefused: it is not what its learner expects.
    """
    learners = [each for each in model.learners.values() if each.kind == ONLINE]
    pointers = store.read(Question(pointers=[learner_pointer(model.key, each.name) for each in learners])).pointers
    standings = {
        learner.name: standing_in(learner, data=artefacts.get(pointer.digest), digest=pointer.digest)
        for learner, pointer in zip(learners, pointers, strict=True)
        if pointer is not None
    }
    return {name: standing for name, standing in standings.items() if standing is not None}
