"""From a learner's declaration and an artefact's bytes to something that scores: one place that knows the kinds."""

from __future__ import annotations

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from online_models.errors import LearnerUnusable
from online_models.learners import Scorer
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer

ONLINE = "river"
OFFLINE = "xgboost"


def restore_scorer(definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> Scorer:
    """Return the trained version that the bytes hold, ready to score.

    Raises:
        ArtefactRefused: the bytes are not what the digest or the learner expects.
        LearnerUnusable: a learner of an unknown kind.
    """
    if definition.kind == ONLINE:
        return RiverLearner.restore(definition, encoder, data=data, digest=digest)[0]
    if definition.kind == OFFLINE:
        return XGBoostScorer(definition.name, encoder, data=data, digest=digest)
    raise LearnerUnusable(
        f"cannot build learner: {definition.name}: expected kind {ONLINE} or {OFFLINE}, got {definition.kind!r}"
    )
