"""The algorithms that authors name in a model: ``hr.river(...)``, ``hr.xgboost(...)`` and the other kinds of learners.

Some are learned here (``river``, ``xgboost``), some are brought along (``onnx``, ``python``), some are elsewhere
(``open_inference``, ``tensorflow_serving``), an ``ensemble`` combines the scores of others, and a ``personal`` one
(`definitions.personal`) adds to another's what is particular to an entity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from definitions.declared import LearnerDefinition
from definitions.declaring import Declaring, author_frame, author_line, listed
from definitions.functions import Untold, code_digest
from definitions.values import Scalar, parse_span, shown

RIVER = "river"
XGBOOST = "xgboost"
PYTHON = "python"
ONNX = "onnx"
ENSEMBLE = "ensemble"
PERSONAL = "personal"
OPEN_INFERENCE = "open_inference"
TENSORFLOW_SERVING = "tensorflow_serving"
REMOTE = frozenset({OPEN_INFERENCE, TENSORFLOW_SERVING})

CONSTANT = "constant"
"""The name under which a route's constant answers: no learner may have it."""

WEIGHT, WEIGHT_FALSE, WEIGHT_TRUE, BALANCE, ONLY = "weight", "weight_false", "weight_true", "balance", "only"
MANY = "many"
"""Parameters of a ``river`` learner; those that are not declared are left out."""
BALANCED = "labels"
MOST_AT_ONCE = 10_000
"""So many examples at most wait to be learned at once: all of them are in every snapshot."""

ROWS, COLUMNS, MATRIX = "rows", "columns", "matrix"
MEAN, LOGIT = "mean", "logit"
DEFAULT_PATIENCE = "100ms"

_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_GRPC_URL = re.compile(r"grpcs?://[^\s/?#@]+:\d+/?")


class Learner:
    """An algorithm, before the attribute that holds it names it."""

    __slots__ = ("_definition", "kind", "where")

    def __init__(self, definition: LearnerDefinition, where: str = "") -> None:
        self.kind = definition.kind
        self.where = where or author_line()
        self._definition = definition

    def __repr__(self) -> str:
        return f"hr.{self.kind}(…)"

    def definition(self, name: str) -> LearnerDefinition:
        """Return the learner as data, under the name of its attribute."""
        given = self._definition
        return LearnerDefinition(
            name,
            given.kind,
            given.factory,
            given.parameters,
            function=given.function,
            members=given.members,
            place=given.place,
            patience_ms=given.patience_ms,
            personal=given.personal,
        )


def river(
    factory: Callable[[], object],
    *,
    weight: str = "",
    balance: str | Mapping[bool, float] = "",
    only: bool | None = None,
    many: int = 1,
) -> Learner:
    """Learn online, one example at a time, with the River estimator that ``factory`` builds.

    The factory is called for every fresh start, so it has to build a new estimator each time:
    ``hr.river(lambda: StandardScaler() | LogisticRegression())``. A classifier, a regressor, or an anomaly detector,
    which learns every vector whatever its label. Where the estimator draws at random and has no seed, it gets one.

    ``weight`` names the input of the model whose value says how much an example counts; 0 is not learned, below 0 is a
    dead letter. ``balance={True: 5, False: 1}`` weighs by label; ``balance="labels"`` lets both labels count the same
    in sum, by how many of each came before (ten of each count as seen from the start). These multiply, and need an
    estimator that takes weights. ``only=False`` learns nothing but examples with that label: an anomaly detector that
    is to know what is normal.

    ``many=1_000`` learns a thousand examples at once, by the estimator's ``learn_many``, which it and every step before
    it must have: the first thousand of the log, then the next, while the others wait in the learner. Needs the extra
    ``headrace[many]``. To SGD that is one step instead of a thousand, so give it a greater rate. 100 at once take
    about as long as one by one, a thousand less than half, ten eight times as long.
    """
    declaring = _declaring()
    if not callable(factory):
        mend = "write hr.river(lambda: …)"
        raise declaring.refusal("a function that builds an estimator", shown(factory), mend)
    parameters = {**_weights(declaring, balance)}
    if declaring.text(weight, "weight"):
        parameters[WEIGHT] = weight
    if only is not None:
        if not isinstance(only, bool):
            raise declaring.refusal("only= to be True or False", shown(only))
        parameters[ONLY] = only
    if declaring.count(many, "many") > MOST_AT_ONCE:
        raise declaring.refusal(f"many= to be {MOST_AT_ONCE} at most", str(many))
    if many > 1:
        parameters[MANY] = many
    return Learner(LearnerDefinition("", RIVER, factory, parameters))


def xgboost(**parameters: Scalar) -> Learner:
    """Learn offline, on history, with XGBoost's own ``parameters``."""
    for name, value in parameters.items():
        plain = (
            value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and not math.isnan(value))
        )
        if not plain:
            raise _declaring().refusal(f"parameter {name} to be a number, a text, a bool or None", shown(value))
    return Learner(LearnerDefinition("", XGBOOST, parameters=dict(parameters)))


def python(function: Callable[..., object], *, on: str = ROWS) -> Learner:
    """Score with a function of your own: rules, a formula, a model of another library.

    ``on="rows"``: called with one vector as a mapping from the input's name to its value, returns its score.
    ``on="columns"``: called with a mapping from name to the list of values of a micro-batch, returns as many scores.
    A missing value is None. The release names the function by a digest of its code: the same function has to be there
    where it scores. It runs in the process that answers, so it must be quick and must not wait for anything.
    """
    declaring = _declaring()
    try:
        digest = code_digest(function)
    except Untold as untold:
        mend = "bring models as hr.onnx(…), and read plain values, functions and modules"
        raise declaring.refusal("a function that reads what a digest can tell", str(untold), mend) from untold
    parameters: dict[str, Scalar] = {"code": digest, "on": one_of(declaring, "on", on, (ROWS, COLUMNS))}
    return Learner(LearnerDefinition("", PYTHON, parameters=parameters, function=function))


def onnx(path: str, *, output: str = "") -> Learner:
    """Score with a model in ONNX format, trained elsewhere. Needs the extra ``headrace[onnx]``.

    ``path`` is relative to the file that declares it; the bytes become part of the release when `headrace batch train`
    makes one, and the file is not needed where it is served. A model with one input gets the encoder's matrix (float32;
    missing: NaN); one with several gets an input per name, numbers as float32 and categories as text (missing: ""). The
    score is ``output``, or the only float output: one number a row, or the last of several (the probability of True).
    """
    declaring = _declaring()
    if not isinstance(path, str) or not path:
        raise declaring.refusal("the path of an ONNX file", shown(path), 'write hr.onnx("model.onnx")')
    place = Path(author_frame().f_code.co_filename).parent / path
    parameters: dict[str, Scalar] = {"output": declaring.text(output, "output")}
    return Learner(LearnerDefinition("", ONNX, parameters=parameters, place=str(place)))


def ensemble(*members: str, weights: Sequence[float] = (), by: str = MEAN) -> Learner:
    """Combine the scores of other learners of the model: their weighted mean, or that of their log-odds.

    ``hr.ensemble("offline", "online", weights=(2, 1), by="logit")``. Where one member has no score, it has none.
    """
    declaring = _declaring()
    if len(members) < 2 or not all(isinstance(each, str) for each in members):  # noqa: PLR2004  # two are company
        raise declaring.refusal("the names of at least two learners", shown(list(members)))
    if len(set(members)) < len(members):
        raise declaring.refusal("each learner once", shown(list(members)))
    given = tuple(weights) or (1.0,) * len(members)
    if len(given) != len(members) or not all(is_number(each) and each > 0 for each in given):
        raise declaring.refusal(f"weights= to be {len(members)} numbers above 0", shown(list(given)))
    parameters: dict[str, Scalar] = {"by": one_of(declaring, "by", by, (MEAN, LOGIT))}
    shares = {name: float(weight) for name, weight in zip(members, given, strict=True)}
    return Learner(LearnerDefinition("", ENSEMBLE, parameters=parameters, members=shares))


def open_inference(  # noqa: PLR0913  # one keyword for each thing that the protocol names
    url: str,
    *,
    model: str,
    missing: float,
    version: str = "",
    on: str = MATRIX,
    input: str = "input-0",  # noqa: A002  # the protocol's word
    output: str = "",
    timeout: str = DEFAULT_PATIENCE,
) -> Learner:
    """Score with a model on a server that speaks the Open Inference Protocol v2 (KServe, Triton, MLServer).

    ``url`` is the server's root: ``http://host:port``, or where it is to be asked by gRPC ``grpc://host:port``, with
    TLS ``grpcs://`` (the extra ``headrace[grpc]``; an authority of your own is named to gRPC by its variable
    ``GRPC_DEFAULT_SSL_ROOTS_FILE_PATH``). ``on="matrix"``: one FP32 tensor called ``input``, the encoder's columns;
    ``on="columns"``: a tensor per input of the model, numbers as FP32 and categories as BYTES. A value that is missing
    goes as the number ``missing``, because JSON has no NaN, a category as "". ``output`` names the tensor of scores
    where there are several. Waits ``timeout`` at most, less where the request has less left.
    """
    declaring = _declaring()
    more = {"input": declaring.text(input, "input"), "output": declaring.text(output, "output")}
    parameters = {**_remote(declaring, model, version, missing, on), **more}
    if isinstance(url, str) and url.startswith("grpc"):
        return _placed(declaring, OPEN_INFERENCE, url, parameters, timeout, _GRPC_URL, "grpc://host:port")
    return _placed(declaring, OPEN_INFERENCE, url, parameters, timeout)


def tensorflow_serving(  # noqa: PLR0913  # one keyword for each thing that the protocol names
    url: str,
    *,
    model: str,
    missing: float,
    version: str = "",
    on: str = MATRIX,
    signature: str = "",
    output: str = "",
    timeout: str = DEFAULT_PATIENCE,
) -> Learner:
    """Score with a model on TensorFlow Serving, over its REST interface.

    ``url`` is the server's root. ``on="matrix"``: each instance is a list, the encoder's columns; ``on="columns"``: an
    object with a value per input of the model. A value that is missing goes as the number ``missing``, a category as
    "". ``output`` names the tensor of scores where there are several. Waits ``timeout`` at most, less where the request
    has less left.
    """
    declaring = _declaring()
    more = {"signature": declaring.text(signature, "signature"), "output": declaring.text(output, "output")}
    parameters = {**_remote(declaring, model, version, missing, on), **more}
    return _placed(declaring, TENSORFLOW_SERVING, url, parameters, timeout)


def _declaring() -> Declaring:
    return Declaring("learner", author_line())


def _weights(declaring: Declaring, balance: str | Mapping[bool, float]) -> dict[str, Scalar]:
    if balance == "":
        return {}
    if isinstance(balance, Mapping):
        if set(balance) == {True, False} and all(is_number(each) and each > 0 for each in balance.values()):
            return {WEIGHT_FALSE: float(balance[False]), WEIGHT_TRUE: float(balance[True])}
    elif balance == BALANCED:
        return {BALANCE: BALANCED}
    mend = f'write balance="{BALANCED}" or balance={{True: 5, False: 1}}'
    raise declaring.refusal("balance= to weigh both labels by numbers above 0", shown(balance), mend)


def _remote(declaring: Declaring, model: str, version: str, missing: float, on: str) -> Mapping[str, Scalar]:
    if not declaring.text(model, "model"):
        raise declaring.refusal("model= to name a model of the server", shown(model))
    if not is_number(missing):
        raise declaring.refusal("missing= to be the number that stands for no value", shown(missing))
    return {
        "model": model,
        "version": declaring.text(version, "version"),
        "missing": float(missing),
        "on": one_of(declaring, "on", on, (MATRIX, COLUMNS)),
    }


def _placed(  # noqa: PLR0913, PLR0917  # the parts of one declaration
    declaring: Declaring,
    kind: str,
    url: str,
    parameters: Mapping[str, Scalar],
    timeout: str,
    form: re.Pattern[str] = _URL,
    example: str = "http://host:port",
) -> Learner:
    if not isinstance(url, str) or form.fullmatch(url) is None:
        raise declaring.refusal("the URL of a server", shown(url), f'write "{example}"')
    patience_ms = parse_span(timeout, where=declaring.where)
    return Learner(LearnerDefinition("", kind, parameters=parameters, place=url.rstrip("/"), patience_ms=patience_ms))


def one_of(declaring: Declaring, keyword_name: str, value: str, known: Sequence[str]) -> str:
    """Return a keyword's value if it is a known one, or refuse it."""
    if value not in known:
        raise declaring.refusal(f"{keyword_name}= to be {listed(known)}", shown(value))
    return value


def is_number(value: object) -> bool:
    """Return whether an author gave a finite number. A bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
