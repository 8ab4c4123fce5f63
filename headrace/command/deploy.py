"""``headrace deploy MODEL``: which release and which route are in force; with options, others are put in force."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.read_topic import read_topic
from agents.transport import Log
from definitions.declared import ModelDefinition, RouteDefinition
from definitions.routes import misrouted
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_log
from headrace.settings import Settings
from streams import topics
from streams.artefacts import ArtefactStore
from streams.deployments import Deployed, deployed_of, one_before
from streams.messages import Deployment, encode

NONE = "none"
"""What takes a part of the route away, as in ``--canary none``."""

_SHOWN = 10
_DIGEST_DIGITS = 64
_SHOWN_DIGITS = 12
_TAKEN_AWAY = {"shadow": "--shadow", "fallback": "--fallback", "canary": "--canary", "weights": "--weight"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be put in force; what it does not name stays as it is."""

    release: str | None
    route: Mapping[str, Any]
    """Fields of the route to their new values."""
    back: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return self.release is None and not self.route and not self.back


def command(  # noqa: PLR0913, PLR0917  # a command's options
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: late for a class Late.")],
    release: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="The release, or how the digest of one deployed before begins.")
    ] = None,
    champion: Annotated[str | None, typer.Option(metavar="LEARNER", help="Answers.")] = None,
    shadow: Annotated[
        list[str], typer.Option(metavar="LEARNER", help="Scored without being answered; may be repeated.")
    ] = [],  # noqa: B006  # typer copies it
    fallback: Annotated[
        str | None, typer.Option(metavar="LEARNER|NUMBER", help="Answers where the others cannot.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option(metavar="LEARNER=SHARE", help="Answers this share of entities: next=0.05.")
    ] = None,
    weight: Annotated[
        list[str], typer.Option(metavar="LEARNER=SHARE", help="Answers this share of requests; may be repeated.")
    ] = [],  # noqa: B006
    *,
    back: Annotated[bool, typer.Option("--back", help="Put the deployment before in force again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what is in force and what was before; with an option, put another release or route in force.

    What is not named stays as it is in force; `none` takes a part of the route away: `--canary none`. What executors
    would refuse is refused here. Those that run take it up within two seconds, between two micro-batches.
    """
    voice = Voice(as_json)
    settings = settings_of(context)
    given = load_definitions(settings)
    definition, namespace = given.model(model), settings.namespace_of(given.name)
    wish = Wish(release, route_of(definition, champion, shadow, fallback, canary, weight), back)
    if back and (release is not None or wish.route):
        raise UsageError(f"cannot deploy: {model}: expected --back alone, got other options beside it; leave one out")
    deployed, is_news = asyncio.run(_deploy(settings, namespace, definition, wish))
    for line in _lines(model, deployed, is_news=is_news or wish.is_empty):
        voice.say(line)
    answers = [_answer(each) for each in deployed]
    in_force = answers[0] if answers else None
    voice.answer({"model": model, "changed": is_news, "in_force": in_force, "before": answers[1:]})


def route_of(
    model: ModelDefinition,
    champion: str | None,
    shadow: Sequence[str],
    fallback: str | None,
    canary: str | None,
    weight: Sequence[str],
) -> Mapping[str, Any]:
    """Return the fields of a route that options name, with their new values.

    Raises:
        UsageError: an option cannot be read.
    """
    fields: dict[str, Any] = {}
    if champion is not None:
        fields["champion"] = champion
    if shadow:
        fields["shadow"] = () if list(shadow) == [NONE] else tuple(shadow)
    if fallback is not None:
        fields["fallback"] = None if fallback == NONE else _fallback(fallback, model)
    if canary is not None:
        fields["canary"] = None if canary == NONE else _share("--canary", canary)
    if weight:
        shares = {} if list(weight) == [NONE] else dict(_share("--weight", each) for each in weight)
        fields["weights"] = tuple(shares.items())
    return fields


def wanted(model: ModelDefinition, deployed: Sequence[Deployed], wish: Wish, *, now_ms: int) -> Deployment:
    """Return what is to be put in force.

    Args:
        model: of which.
        deployed: what is in force, and what was before, the newest first.
        wish: what is to be another.
        now_ms: the time that the deployment carries, epoch ms.

    Raises:
        UsageError: there is no such release, nothing to go back to, or no route like this.
    """
    if wish.back:
        before = one_before(deployed)
        if before is None:
            raise UsageError(f"cannot deploy: {model.key}: expected a deployment before to go back to, got none")
        release, base = before.deployment.release, before.deployment.route
    else:
        release = _release(model, deployed, wish.release)
        base = deployed[0].deployment.route if deployed else model.route
    route = replace(base, **wish.route)
    problem = misrouted(route, model.learners)
    if problem is not None:
        expected, got, mend = problem
        mends = [each for each in (mend, _stays(model, base, wish)) if each]
        raise UsageError("; ".join([f"cannot deploy: {model.key}: expected {expected}, got {got}", *mends]))
    return Deployment.of(model.name, release, route, at_ms=now_ms)


async def _deploy(
    settings: Settings, namespace: str, model: ModelDefinition, wish: Wish
) -> tuple[list[Deployed], bool]:
    """Return what is in force in the end, with what was before, and whether it was put there now."""
    topic = topics.deployments(namespace)
    log = open_log(settings, existing(settings, Path.cwd()))
    try:
        deployed = await read_deployed(log, topic, model)
        if wish.is_empty:
            return deployed, False
        deployment = wanted(model, deployed, wish, now_ms=log.now_ms())
        if deployed and deployed[0].is_same(deployment):
            return deployed, False
        _require_release(model, deployment.release, settings)
        await log.create_topics([topics.of_deployments(namespace)])
        await log.producer().produce(topic, encode(deployment), key=model.name.encode())
        return await read_deployed(log, topic, model), True
    finally:
        await log.close()


async def read_deployed(log: Log, topic: str, model: ModelDefinition) -> list[Deployed]:
    """Return a model's deployments, the one in force first.

    Raises:
        LogUnavailable: the log did not hand them out.
    """
    found = await read_topic(log, await log.partitions(topic))
    return deployed_of(model.name, [record for _, record in found])


def _require_release(model: ModelDefinition, digest: str, settings: Settings) -> None:
    """Refuse a release that executors would refuse: by what they do themselves."""
    from online_models import releases  # noqa: PLC0415  # imports the learners' libraries

    releases.load(digest, ArtefactStore(settings.artefacts).get, model)


def _release(model: ModelDefinition, deployed: Sequence[Deployed], asked: str | None) -> str:
    """Return the digest of the release that is asked for, by default of the one in force."""
    known = list(dict.fromkeys(each.deployment.release for each in deployed))
    shown = ", ".join(each[:_SHOWN_DIGITS] for each in known[:_SHOWN]) or "none yet"
    if asked is None and known:
        return known[0]
    if asked is None:
        raise UsageError(
            f"cannot deploy: {model.key}: expected --release, got none, and none is in force; "
            "make one with `headrace batch train`"
        )
    found = [each for each in known if each.startswith(asked)] if asked else []
    if not found and len(asked) == _DIGEST_DIGITS:
        return asked
    if len(found) != 1:
        got = f"{len(found)} that begin with it" if found else "none"
        raise UsageError(
            f"cannot deploy: {model.key}: --release {asked}: expected one release, got {got}; deployed were {shown}"
        )
    return found[0]


def _stays(model: ModelDefinition, base: RouteDefinition, wish: Wish) -> str:
    """Return how to take away what stays of the route in force, where only that is what does not fit."""
    stays = {field: option for field, option in _TAKEN_AWAY.items() if field not in wish.route}
    kept = [option for field, option in stays.items() if getattr(base, field) not in {None, ()}]
    bare = replace(RouteDefinition(base.champion), **wish.route)
    if not kept or misrouted(bare, model.learners) is not None:
        return ""
    ways = " or ".join(f"{option} {NONE}" for option in kept)
    return f"the rest of the route stays as it is in force: {shown_route(base)}; take away with {ways}"


def _fallback(text: str, model: ModelDefinition) -> str | float:
    if text in model.learners:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _share(option: str, text: str) -> tuple[str, float]:
    learner, is_pair, share = text.partition("=")
    try:
        if is_pair and learner:
            return learner, float(share)
    except ValueError:
        pass
    raise UsageError(f"cannot read {option}: expected LEARNER=SHARE, as in next=0.05, or {NONE}, got {text!r}")


def _lines(model: str, deployed: Sequence[Deployed], *, is_news: bool) -> list[str]:
    """Return what is in force, and what was before, as people read it."""
    if not deployed:
        return [f"{model}: nothing is in force; make a release with `headrace batch train`"]
    lines = [] if is_news else [f"{model}: nothing to change"]
    lines += [f"{model}: in force {_line(deployed[0])}"]
    lines += [f"  before {_line(each)}" for each in deployed[1 : _SHOWN + 1]]
    hidden = len(deployed) - 1 - _SHOWN
    return [*lines, f"  and {hidden} before; --json tells all"] if hidden > 0 else lines


def _line(each: Deployed) -> str:
    since = datetime.fromtimestamp(each.since_ms / 1_000, UTC).isoformat(timespec="seconds")
    return f"since {since}: release {each.deployment.release[:_SHOWN_DIGITS]}, {shown_route(each.deployment.route)}"


def shown_route(route: RouteDefinition) -> str:
    """Return a route as people read it: ``champion offline, canary next=0.05``."""
    canary = () if route.canary is None else (route.canary,)
    parts = [f"champion {route.champion}"]
    parts += [f"shadow {each}" for each in route.shadow]
    parts += [f"canary {learner}={share:g}" for learner, share in canary]
    parts += [f"weight {learner}={share:g}" for learner, share in route.weights]
    parts += [] if route.fallback is None else [f"fallback {route.fallback}"]
    return ", ".join(parts)


def _answer(each: Deployed) -> Mapping[str, object]:
    return {**msgspec.to_builtins(each.deployment), "since_ms": each.since_ms, "offset": each.offset}
