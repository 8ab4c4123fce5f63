"""The artefact of a learner that is declared and not trained: what it is, in canonical JSON.

Its digest names the learner in the release. A process that declares another function, other weights or another model of
a server under the same name is refused there, like one with other bytes of a booster.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from definitions.declared import LearnerDefinition
from online_models.errors import ArtefactRefused


def describe(definition: LearnerDefinition) -> bytes:
    """Return the artefact of a declared learner."""
    told = {
        "name": definition.name,
        "kind": definition.kind,
        "parameters": dict(definition.parameters),
        "members": dict(definition.members),
        **({} if definition.personal is None else {"personal": asdict(definition.personal)}),
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def require_described(definition: LearnerDefinition, *, data: bytes, digest: str) -> None:
    """Refuse a learner that is not the one which the artefact describes.

    Raises:
        ArtefactRefused: other bytes than the digest names, or another learner.
    """
    require_digest(data, digest, what=definition.kind)
    if data != describe(definition):
        raise ArtefactRefused(
            f"cannot load {definition.kind}: {digest[:12]}: expected the {definition.name} that is declared here, "
            "got another one; train again with `headrace batch train`, or run the code that the release was made for"
        )


def require_digest(data: bytes, digest: str, *, what: str) -> None:
    """Refuse bytes that are not those which ``digest`` names.

    Raises:
        ArtefactRefused: they are others.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ArtefactRefused(f"cannot load {what}: {digest[:12]}: expected its own digest, got {found[:12]}")
