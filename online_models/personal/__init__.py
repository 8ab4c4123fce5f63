"""Personal models: a few coefficients per entity, learned online beside another learner's score (GLMix on the stream).

What is kept of an entity is `evidence.Evidence`: what its examples said, without the prior. The prior is put in when
evidence is read (`PersonalModel.recall`), so it may move with the population (`population.Population`) and every
entity follows at once. An example is learned by all its entities together: each takes what the others are unsure of as
noise, so that their parts add up to what one exact step would have done (`PersonalModel.learn`).

::

    score = offset + sum over kinds of x . m        m, V: the belief about one entity's coefficients
    V = (S + Q)^-1   m = V p                        S, p: its evidence; Q: the prior's precisions
    S' = l S + w x x'   p' = l p + x (w x . m + r)  l: forgetting; w, r: curvature and gradient at the score

Pure: no clock, no store. Everything is a function of the examples so far, in their order.
"""

from __future__ import annotations

from online_models.personal.evidence import Evidence
from online_models.personal.model import Instance, PersonalModel, Recalled
from online_models.personal.population import Population

__all__ = ["Evidence", "Instance", "PersonalModel", "Population", "Recalled"]
