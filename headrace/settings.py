"""The settings of one project: ``[tool.headrace]`` of the nearest ``pyproject.toml``, overridden by ``HEADRACE_*``.

The only file that reads the environment. Names that nobody knows are refused, with the one that was probably meant.

==================  =============================  ===========================================================
``[tool.headrace]``  environment                    meaning
==================  =============================  ===========================================================
``app``              ``HEADRACE_APP``               importable module with the definitions
``namespace``        ``HEADRACE_NAMESPACE``         leads every key, group and topic of ours; default: app's name
``kafka``            ``HEADRACE_KAFKA``             bootstrap address; as a table: librdkafka properties
..                   ``HEADRACE_KAFKA_PROPERTIES``  a JSON object of such properties, over those of the table
``redis``            ``HEADRACE_REDIS``             URL of the online store, see `streams.store.address`
``artefacts``        ``HEADRACE_ARTEFACTS``         folder of the artefact store
``partitions``       ``HEADRACE_PARTITIONS``        of the topics that we create
``admin_host``       ``HEADRACE_ADMIN_HOST``        where ``/metrics``, ``/livez`` and ``/readyz`` listen
``admin_port``       ``HEADRACE_ADMIN_PORT``        of the first role, the next role's is one more; 0: any
``schema_registry``  ``HEADRACE_SCHEMA_REGISTRY``   URL of the registry that Avro and Protobuf events need
``substrate``        ``HEADRACE_SUBSTRATE``         ``auto``, ``kafka`` or ``in-process``
``budget``           ``HEADRACE_BUDGET``            a table, or a JSON object: what views and requests may cost
==================  =============================  ===========================================================
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from definitions.errors import HeadraceError
from headrace.budget import DEFAULT_BUDGET, Budget, read_budget
from headrace.errors import SettingsError
from streams.errors import StoreError
from streams.store.address import read_address

ROLES = ("features", "scoring", "learning", "monitoring")
"""In the order of their admin ports."""

_PREFIX = "HEADRACE_"
_NAMESPACE = re.compile(r"[a-z0-9-]{1,32}")
_SUBSTRATES = ("auto", "kafka", "in-process")
_LARGEST_PORT = 65535

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project chose. ``root`` is the folder of its ``pyproject.toml``, else the working directory."""

    root: Path
    app: str | None = None
    namespace: str | None = None
    kafka: str | None = None
    kafka_properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    redis: str | None = field(default=None, repr=False)
    """May hold a password: show `streams.store.address.safe` of it."""
    artefacts: Path = Path(".headrace/artefacts")
    partitions: int = 4
    admin_host: str = "127.0.0.1"
    admin_port: int = 9101
    substrate: str = "auto"
    schema_registry: str | None = None
    budget: Budget = DEFAULT_BUDGET

    def namespace_of(self, app_name: str) -> str:
        """Return the chosen namespace, else the app's name with what a namespace cannot hold left out."""
        if self.namespace is not None:
            return self.namespace
        return re.sub(r"[^a-z0-9]+", "-", app_name.lower()).strip("-")[:32].strip("-") or "app"

    def admin_port_of(self, role: str) -> int:
        """Return the port that a role's metrics and health listen on, 0 for any free one."""
        return self.admin_port + ROLES.index(role) if self.admin_port else 0


def read_settings(directory: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force in ``directory``.

    Args:
        directory: where to look for ``pyproject.toml``, and in the folders above.
        environ: the environment; None for this process's own.

    Raises:
        SettingsError: a name is unknown, or a value cannot be used; the message says where.
    """
    environ = os.environ if environ is None else environ
    file = _nearest(directory.resolve())
    table = {} if file is None else _table(file)
    root = directory.resolve() if file is None else file.parent
    values = _from_table(table, where=f"{file} [tool.headrace]") | _from_environ(environ)
    properties = dict(values.pop("kafka_properties", {}))
    if "kafka_override" in values:
        properties |= values.pop("kafka_override")
    settings = Settings(root=root, kafka_properties=properties, **values)
    return dataclasses.replace(settings, artefacts=root / settings.artefacts)


def child_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with ``settings`` written into it, for a child process."""
    chosen = {
        "APP": settings.app,
        "NAMESPACE": settings.namespace,
        "KAFKA": settings.kafka,
        "KAFKA_PROPERTIES": msgspec.json.encode(settings.kafka_properties).decode(),
        "REDIS": settings.redis,
        "ARTEFACTS": str(settings.artefacts),
        "PARTITIONS": str(settings.partitions),
        "ADMIN_HOST": settings.admin_host,
        "ADMIN_PORT": str(settings.admin_port),
        "SUBSTRATE": settings.substrate,
        "SCHEMA_REGISTRY": settings.schema_registry,
    }
    return {**os.environ, **{_PREFIX + name: value for name, value in chosen.items() if value is not None}}


def _nearest(directory: Path) -> Path | None:
    candidates = (each / "pyproject.toml" for each in (directory, *directory.parents))
    return next((each for each in candidates if each.is_file()), None)


def _table(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text()).get("tool", {}).get("headrace", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read settings: {file}: {error}") from error
    return _a(dict, found, f"{file} [tool.headrace]")


def _from_table(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        _known(name, [each for each in _READERS if each != "kafka_properties"], where)
        if name == "kafka" and isinstance(value, dict):
            properties = _flat(value)
            if "bootstrap.servers" in properties:
                values["kafka"] = properties.pop("bootstrap.servers")
            values["kafka_properties"] = _properties(properties, f"{where} kafka")
        else:
            values[name] = _READERS[name](value, f"{where} {name}")
    return values


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    known = [_PREFIX + name.upper() for name in _READERS]
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or not text:
            continue
        _known(variable, known, "the environment")
        name = variable.removeprefix(_PREFIX).lower()
        target = "kafka_override" if name == "kafka_properties" else name
        values[target] = _READERS[name](text, variable)
    return values


def _known(name: str, names: list[str], where: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise SettingsError(
        f"cannot read settings: {where}: expected a known name, got {name!r}; did you mean {near[0]!r}?"
    )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return ``{"sasl": {"mechanism": "PLAIN"}}``, as TOML reads an unquoted dotted key, as ``sasl.mechanism``."""
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value).lower() if isinstance(value, bool) else str(value)
    return flat


def _properties(properties: Mapping[str, str], where: str) -> dict[str, str]:
    if "bootstrap.servers" in properties:
        raise SettingsError(f"cannot read settings: {where}: bootstrap.servers: set it as {_PREFIX}KAFKA")
    if properties:
        from agents.transport.kafka_settings import KafkaSettings  # noqa: PLC0415  # a client library that few need here

        try:
            KafkaSettings("", properties)
        except HeadraceError as error:
            raise SettingsError(f"cannot read settings: {where}: {error}") from error
    return dict(properties)


def _a(kind: type[_T], value: object, where: str) -> _T:
    if not isinstance(value, kind):
        raise SettingsError(f"cannot read settings: {where}: expected {kind.__name__}, got {value!r:.80}")
    return value


def _text(value: object, where: str) -> str:
    return _a(str, value, where)


def _whole(value: object, where: str, low: int, high: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise SettingsError(f"cannot read settings: {where}: expected {low} to {high}, got {value!r:.80}")
    return number


def _namespace(value: object, where: str) -> str:
    text = _text(value, where)
    if _NAMESPACE.fullmatch(text) is None:
        raise SettingsError(f"cannot read settings: {where}: expected 1 to 32 of a-z, 0-9 and -, got {value!r:.80}")
    return text


def _substrate(value: object, where: str) -> str:
    if value not in _SUBSTRATES:
        raise SettingsError(f"cannot read settings: {where}: expected {' or '.join(_SUBSTRATES)}, got {value!r:.80}")
    return str(value)


def _redis(value: object, where: str) -> str:
    if not isinstance(value, str):  # not shown: it may be meant as a secret
        raise SettingsError(f"cannot read settings: {where}: expected str, got {type(value).__name__}")
    try:
        read_address(value)
    except StoreError as error:
        raise SettingsError(
            f"cannot read settings: {where}: {str(error).removeprefix('cannot use the online store: ')}"
        ) from None
    return value


def _registry(value: object, where: str) -> str:
    text = _text(value, where)
    if not text.startswith(("http://", "https://")):
        raise SettingsError(f"cannot read settings: {where}: expected http://host:port, got {value!r:.80}")
    return text


def _property_object(value: object, where: str) -> dict[str, str]:
    return _properties(_flat(_json_object(value, where)), where)


def _json_object(value: object, where: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(_text(value, where))
    except msgspec.DecodeError as error:
        raise SettingsError(f"cannot read settings: {where}: expected a JSON object: {error}") from error
    return _a(dict, decoded, where)


def _budget(value: object, where: str) -> Budget:
    return read_budget(_json_object(value, where) if isinstance(value, str) else _a(dict, value, where), where)


_READERS = {
    "app": _text,
    "namespace": _namespace,
    "kafka": _text,
    "kafka_properties": _property_object,
    "redis": _redis,
    "artefacts": lambda value, where: Path(_text(value, where)),
    "partitions": lambda value, where: _whole(value, where, 1, 1024),
    "admin_host": _text,
    "admin_port": lambda value, where: _whole(value, where, 0, _LARGEST_PORT - len(ROLES)),
    "substrate": _substrate,
    "schema_registry": _registry,
    "budget": _budget,
}
