"""``headrace parity``: the proof that what was served is what the log says, once or for as long as traffic goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from agents.metrics import Metrics
from agents.serve_health import HealthServer
from batch.errors import HistoryUnavailable
from batch.history import History, KafkaHistory
from batch.parity import Label, Parity
from batch.prove_parity import ParityProof
from batch.read_predictions import PredictionReader
from batch.replay_exactly import LogReplay
from batch.serve_again import sources_of
from definitions.declared import AppDefinition, ModelDefinition
from definitions.errors import HeadraceError
from headrace.command.bars import bars
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing, UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_schemas, open_store
from headrace.settings import Settings
from streams.artefacts import ArtefactStore
from streams.codecs import Schemas
from streams.store import OnlineStore

_TICK_S = 1.0
_LINE_EVERY = 1_000
_SHOWN_EXAMPLES = 5

_Tell = Callable[[Parity], None]
"""Takes what was found so far."""


@dataclass(frozen=True, slots=True)
class _World:
    """What a proof rests on."""

    app: AppDefinition
    namespace: str
    history: History
    store: OnlineStore
    artefacts: ArtefactStore
    schemas: Schemas | None


def command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's name; may be left out where there is only one.")] = "",
    sample: Annotated[float, typer.Option(help="The share of predictions to prove, such as 0.01.")] = 1.0,
    limit: Annotated[int | None, typer.Option(help="How many predictions to prove at most, the oldest first.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with live traffic until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that every vector that was served is what the log says, bit for bit.

    The log is replayed to exactly the positions that each prediction names. A difference is `version` where another
    definition was served than the one at hand, else `fault`. Beside it, each question is asked of the log as it is now:
    a difference there is `late` or `duplicate`, and no fault. May run beside the roles. The exit code is 1 for a fault.
    """
    voice = Voice(as_json)
    share = checked_sample(sample)
    settings = settings_of(context)
    with _world(settings) as world:
        chosen = chosen_model(world.app, model)
        try:
            graphs = [graph for graph in world.app.graphs if chosen.key in {each.key for each in graph.models}]
            reader = PredictionReader(chosen, world.namespace, world.history, sample=share, graphs=graphs)
            with _proof(chosen, world) as proof:
                if follow:
                    with _telling(chosen, world.namespace, voice) as tell:
                        found = _follow(reader, proof, limit, tell)
                else:
                    found = _once(reader, proof, limit)
        except HistoryUnavailable as error:
            raise ServerMissing(str(error)) from error
    for line in lines_of(found):
        voice.say(line)
    voice.answer({"model": chosen.name, **found.as_json()})
    if found.faults:
        raise typer.Exit(FOUND_A_PROBLEM)


def _once(reader: PredictionReader, proof: ParityProof, limit: int | None) -> Parity:
    with bars() as tell:
        spans = reader.spans()
        most = sum(end - first for first, end in spans.values())
        for number, probe in enumerate(islice(reader.read(spans), limit), start=1):
            proof.take(probe)
            if number % _LINE_EVERY == 0:
                tell("predictions", number, most)
        return proof.finish()


def _follow(reader: PredictionReader, proof: ParityProof, limit: int | None, tell: _Tell) -> Parity:
    """Prove what there is and what comes, a tick after it came, until the process is asked to stop."""
    spans, taken = reader.spans(), 0
    with _stopping() as stop:
        while True:
            before = proof.waiting
            for probe in islice(reader.read(spans), None if limit is None else limit - taken):
                proof.take(probe)
                taken += 1
            # What came in this tick waits for the next one: its neighbours of other partitions may still be under way.
            proof.answer(min(before, proof.waiting))
            tell(proof.found)
            if taken == limit or stop.wait(_TICK_S):
                break
            spans = reader.spans(after=spans)
        tell(found := proof.finish())
        return found


class _Told:
    """Tells people, by a line every so many probes, and machines, by metrics, while traffic is followed."""

    def __init__(self, voice: Voice, metrics: Metrics, model: str) -> None:
        self._voice = voice
        self._metrics = metrics
        self._model = model
        self._said = 0
        self._counted: dict[str, int] = {}

    def __call__(self, found: Parity) -> None:
        """Take what was found so far."""
        if found.probes // _LINE_EVERY > self._said // _LINE_EVERY:
            self._said = found.probes
            self._voice.say(_line(found))
        counts: dict[str, int] = {"equal": found.equal}
        counts |= {str(label): count for label, count in found.labels.items()}
        counts |= {str(reason): count for reason, count in found.skipped.items()}
        for result, count in counts.items():
            new = count - self._counted.get(result, 0)
            self._metrics.count("parity_probes_total", new, model=self._model, result=result)
        self._counted = counts


@contextmanager
def _telling(model: ModelDefinition, namespace: str, voice: Voice) -> Iterator[_Tell]:
    """Yield what is told while traffic is followed; its metrics are served on a free port."""
    metrics = Metrics(namespace)
    with HealthServer(metrics.registry, live={}, ready={}) as server:
        voice.say(f"parity: metrics on http://127.0.0.1:{server.port}/metrics")
        yield _Told(voice, metrics, model.name)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield what is set by SIGTERM or Ctrl-C, which then end no more than the loop."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _world(settings: Settings) -> Iterator[_World]:
    app = load_definitions(settings)
    substrate = existing(settings, Path.cwd())
    namespace = settings.namespace_of(app.name)
    store = open_store(substrate, namespace)
    try:
        history = KafkaHistory(substrate.kafka or "", settings.kafka_properties)
        artefacts = ArtefactStore(settings.artefacts)
        yield _World(app, namespace, history, store, artefacts, open_schemas(settings))
    finally:
        store.close()


@contextmanager
def _proof(model: ModelDefinition, world: _World) -> Iterator[ParityProof]:
    sources = sources_of(model)

    def replay() -> LogReplay:
        return LogReplay(sources, world.history, world.store, schemas=world.schemas)

    proof = ParityProof(model, replay, definition_of=_Definitions(world.artefacts).of)
    try:
        yield proof
    finally:
        proof.close()


class _Definitions:
    """From a release to the digest of the definition that it was made for; each manifest is read once."""

    def __init__(self, artefacts: ArtefactStore) -> None:
        self._artefacts = artefacts
        self._known: dict[str, str | None] = {}

    def of(self, release: str) -> str | None:
        """Return the digest, None where the manifest cannot be read here."""
        from online_models.releases import read_manifest  # noqa: PLC0415  # imports the learners' libraries

        if release not in self._known:
            try:
                self._known[release] = read_manifest(release, self._artefacts.get).definition
            except HeadraceError:
                self._known[release] = None
        return self._known[release]


def chosen_model(app: AppDefinition, name: str) -> ModelDefinition:
    """Return the model of that name; without a name, the app's only one.

    Raises:
        UsageError: no name is given, and there is not just one model.
        NotDeclared: there is no model of that name.
    """
    if not name and len(app.models) != 1:
        names = ", ".join(each.name for each in app.models) or "none"
        raise UsageError(f"cannot prove parity: {app.name}: expected one model, got {names}; name one")
    return app.model(name) if name else app.models[0]


def checked_sample(sample: float) -> float:
    """Return a share of predictions.

    Raises:
        UsageError: it is none.
    """
    if not 0 < sample <= 1:
        raise UsageError(f"cannot prove parity: --sample: expected a share above 0 and up to 1, got {sample}")
    return sample


def _line(found: Parity) -> str:
    """Return what was found so far in one line."""
    labels = ", ".join(f"{label} {count}" for label, count in found.labels.items())
    skipped = "".join(f", {reason.replace('_', ' ')} {count}" for reason, count in found.skipped.items() if count)
    return f"{found.probes} probes: equal {found.equal}, unequal {found.unequal} ({labels}){skipped}"


def lines_of(found: Parity) -> list[str]:
    """Return what was found as people read it."""
    lines = [_line(found)]
    for label in Label:
        for each in [each for each in found.examples if each.label is label][:_SHOWN_EXAMPLES]:
            shown = "; ".join(f"{name}: served {a!r}, log {b!r}" for name, (a, b) in each.differing.items())
            lines.append(f"{label}: {each.request_id}: {shown or 'served from another definition'}")
    return lines
