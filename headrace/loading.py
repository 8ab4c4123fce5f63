"""How an author's module becomes an app: imported once, its declarations collected and compared with each other.

The author's own mistakes are told in one line that names their file and line, never as a traceback.
"""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import definitions
from definitions.declared import AppDefinition, EventDefinition, GraphDefinition, ModelDefinition, ViewDefinition
from definitions.errors import AppNotLoaded, DefinitionError, HeadraceError
from definitions.events import Event
from definitions.features import Features
from definitions.graphs import Graph
from definitions.identity import difference
from definitions.models import Model

_APP_NAME = re.compile(r"[a-z0-9-]{1,32}")
_ENTRY_MODULES = frozenset({"app", "main", "definitions", "__init__", "__main__"})
_NOT_THE_AUTHORS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    str(Path(__file__).parent),
    str(Path(definitions.__file__).parent),
    "<frozen",
)

_Definition = TypeVar("_Definition", EventDefinition, ViewDefinition, ModelDefinition, GraphDefinition)


def load_app(module_name: str) -> AppDefinition:
    """Import the author's module and return everything that it declares or imports from elsewhere.

    The working directory is on the path. The app's name is the module's, or its package's where the module is called
    ``app`` or ``main`` (``examples.flights.app`` is ``flights``), or what ``__app_name__`` in it says.

    Raises:
        AppNotLoaded: the module is missing, its import ends with an error, or it declares nothing.
        DefinitionError: a declaration is wrong, or two of them contradict each other.
    """
    module = _imported(module_name)
    declared = [each for each in vars(module).values() if isinstance(each, type)]
    graphs = _distinct(each.definition for each in declared if issubclass(each, Graph) and each is not Graph)
    own_models = [each.definition for each in declared if issubclass(each, Model) and each is not Model]
    models = _distinct([*own_models, *(model for graph in graphs for model in graph.models)])
    own_views = [each.definition for each in declared if issubclass(each, Features) and each is not Features]
    own_events = [each.definition for each in declared if issubclass(each, Event) and each is not Event]
    read = [
        *(view for model in models for view in model.all_views),
        *(view for graph in graphs for view in graph.views),
    ]
    views = _distinct([*own_views, *read])
    labels = (model.label.event for model in models if model.label is not None)
    events = _distinct([*own_events, *(source.event for view in views for source in view.sources), *labels])
    if not events:
        raise AppNotLoaded(f"cannot load app: {module_name}: expected classes of hr.Event and hr.Features, got none")
    app = AppDefinition(_name(module, module_name), events, views, models, graphs)
    _refuse_contradictions(app)
    return app


def _imported(module_name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(module_name)
    except HeadraceError:
        raise  # it names the author's line already
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _own_error(module_name, error) from error
        mend = "run in the project's folder, or name the module with --app"
        if module_name.endswith(".py"):
            mend = f"did you mean {module_name.removesuffix('.py').replace('/', '.')!r}?"
        raise AppNotLoaded(f"cannot load app: no module {error.name!r} in {Path.cwd()} or installed; {mend}") from error
    # The author's code may raise anything; the boundary of the process, moved to where the module's name is known.
    except (Exception, SystemExit) as error:
        raise _own_error(module_name, error) from error


def _own_error(module_name: str, error: BaseException) -> AppNotLoaded:
    """Return the author's own exception in one line, with the innermost line that is the author's."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename is not None:
        where, text = f"{Path(error.filename).name}:{error.lineno}", error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [each for each in frames if not each.filename.startswith(_NOT_THE_AUTHORS)]
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else module_name
    return AppNotLoaded(f"cannot load app: {where}: {type(error).__name__}" + (f": {text}" if text else ""))


def _name(module: ModuleType, module_name: str) -> str:
    parts = module_name.split(".")
    if len(parts) > 1 and parts[-1] in _ENTRY_MODULES:
        parts.pop()
    name = getattr(module, "__app_name__", None) or parts[-1].lower().replace("_", "-")
    if not isinstance(name, str) or _APP_NAME.fullmatch(name) is None:
        expected = "1 to 32 lower-case letters, digits and dashes"
        raise DefinitionError(
            f"cannot name app: {module_name}: expected {expected}, got {name!r}; set __app_name__ in it"
        )
    return name


def _distinct(found: Iterable[_Definition]) -> tuple[_Definition, ...]:
    """Return each definition once, by identity: the same class under two names is one declaration."""
    return tuple({id(each): each for each in found}.values())


def _refuse_contradictions(app: AppDefinition) -> None:
    _refuse_same_version(app.name, "view", app.views)
    _refuse_same_version(app.name, "model", app.models)
    for model, other in combinations(app.models, 2):
        if model.name == other.name:
            got = f"versions {model.version} and {other.version}"
            raise DefinitionError(f"cannot load app {app.name}: model {model.name}: expected one version, got {got}")
    for graph in app.graphs:
        same = [each.key for each in app.answering if each.name == graph.name and each is not graph]
        if same:
            expected = f"graph {graph.name}: expected a name that no other graph or model has"
            raise DefinitionError(f"cannot load app {app.name}: {expected}, got {graph.key} and {', '.join(same)}")
    for event, twin in combinations(app.events, 2):
        if event.name == twin.name or event.topic == twin.topic:
            got = f"{event.name} of {event.topic} and {twin.name} of {twin.topic}"
            raise DefinitionError(f"cannot load app {app.name}: expected each event name and topic once, got {got}")


def _refuse_same_version(app: str, kind: str, declared: Sequence[ViewDefinition | ModelDefinition]) -> None:
    for first, second in combinations(declared, 2):
        if (first.name, first.version) == (second.name, second.version):
            changed = difference(first, second)
            got = f"two that differ: {changed}" if changed else "two that are alike"
            mend = "give one of them another version" if changed else "remove one"
            what = f"{kind} {first.name} v{first.version}"
            raise DefinitionError(f"cannot load app {app}: {what}: expected one declaration, got {got}; {mend}")
