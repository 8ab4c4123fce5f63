"""Every metric in one table: name, kind, labels, meaning. Base units, no entity ids in labels.

A process makes one `Metrics` and hands it to its roles; `agents.health` serves it over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.store import Row, RowKey

_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_Kind = type[Counter] | type[Gauge] | type[Histogram]

TABLE: tuple[tuple[str, _Kind, tuple[str, ...], str], ...] = (
    ("events_decoded_total", Counter, ("topic",), "events decoded by the intake"),
    ("dead_letters_total", Counter, ("topic", "reason"), "records that became dead letters"),
    ("row_next_offset", Gauge, ("fold", "topic", "partition"), "how far a fold's resume row reaches"),
    ("row_records", Gauge, ("fold", "topic", "partition", "tally"), "the tallies of a resume row (law 5)"),
    ("lag_records", Gauge, ("role", "topic", "partition"), "records between the role's position and the end"),
    ("chain_breaks_total", Counter, ("role",), "writes refused because the mark differed"),
    ("rewinds_total", Counter, ("role",), "times a partition was read again from its row's position"),
    ("store_waits_total", Counter, ("role",), "times a role waited for a store that did not answer"),
    ("log_waits_total", Counter, ("role",), "times a role waited for a log that did not acknowledge"),
    ("registry_waits_total", Counter, ("role",), "times a role waited for a schema registry that did not answer"),
    ("cells_removed_total", Counter, ("fold",), "cells removed because no question needs them any more"),
    ("partition_paused", Gauge, ("role", "topic", "partition", "reason"), "1 while a partition stands still, and why"),
    ("batch_seconds", Histogram, ("role",), "time to apply one record batch"),
    ("assigned_partitions", Gauge, ("role",), "partitions that this process works on"),
    ("requests_total", Counter, ("model", "status", "reason"), "requests of models and graphs by outcome"),
    (
        "requests_unroutable_total",
        Counter,
        ("reason",),
        "requests whose reply topic could not be read or is not allowed",
    ),
    ("undelivered_records", Gauge, (), "replies and predictions of this process that the log did not take"),
    ("request_seconds", Histogram, ("model",), "from the request's LogAppendTime to its reply"),
    ("predictions_logged_total", Counter, ("model",), "predictions sent to the outcomes topic"),
    ("model_loads_total", Counter, ("model", "learner", "result"), "artefacts loaded or refused"),
    ("learner_failures_total", Counter, ("model", "learner"), "micro-batches that a learner gave no score for"),
    ("remote_calls_total", Counter, ("model", "learner", "result"), "calls to servers of remote learners by outcome"),
    ("remote_seconds", Histogram, ("model", "learner"), "time a remote learner's scores took, failures included"),
    ("remote_circuit_open", Gauge, ("model", "learner"), "1 while a remote learner fails and is not asked"),
    ("gateway_calls_total", Counter, ("model", "code"), "calls over HTTP by the code of their answer"),
    ("gateway_seconds", Histogram, ("model",), "from a call's head to its answer"),
    ("graph_candidates_total", Counter, ("graph", "stage"), "candidates that came to a stage of a graph"),
    ("graph_round_trips_total", Counter, ("graph",), "round trips to the store for candidates' features"),
    ("graph_entities_read_total", Counter, ("graph", "view"), "entities whose features were read for a graph"),
    ("labels_routed_total", Counter, ("model",), "labels copied into the outcomes topic"),
    ("labels_joined_total", Counter, ("model", "outcome"), "what became of predictions and labels: `Tally`"),
    ("predictions_pending", Gauge, ("model", "partition"), "predictions that wait for their label"),
    ("examples_learned_total", Counter, ("model", "learner"), "examples learned"),
    ("personal_entities", Gauge, ("model", "learner", "kind"), "entities that a personal model began to learn of"),
    ("personal_forgetting", Gauge, ("model", "learner", "kind"), "share of its evidence that an entity forgets a time"),
    ("snapshots_total", Counter, ("model", "learner"), "snapshots published"),
    ("learner_lag_records", Gauge, ("model", "learner"), "examples between a learner and the end of their topic"),
    ("learner_waiting_examples", Gauge, ("model", "learner"), "examples that wait to be learned with others (many=)"),
    ("learner_paused", Gauge, ("model", "learner"), "1 while a learner is paused by command"),
    ("publish_seconds", Histogram, ("model", "learner"), "time to cut a snapshot and put it in force"),
    (
        "weights_lag_seconds",
        Histogram,
        ("model", "learner"),
        "from the LogAppendTime of the newest example that new weights contain to their being served",
    ),
    (
        "prequential_measure",
        Gauge,
        ("model", "learner", "slice", "measure", "mark"),
        "how well a learner does as served, by prediction time: of final buckets, of the newest, of all with fading",
    ),
    (
        "label_coverage_ratio",
        Gauge,
        ("model", "learner", "slice", "mark"),
        "the share of a window's scores whose label is known",
    ),
    ("drift_psi", Gauge, ("model", "signal"), "PSI of the last complete day against the baseline"),
    ("drift_verdict", Gauge, ("model", "signal", "verdict"), "1 for the verdict in force"),
    ("parity_probes_total", Counter, ("model", "result"), "vectors had again from the log: equal, or why not"),
    ("alerts_total", Counter, ("model", "state"), "alert records sent"),
    ("heartbeat_timestamp_seconds", Gauge, ("role",), "when the role last made progress or found nothing to do"),
)


class Metrics:
    """The metrics of one process, under the prefix ``headrace_`` and the label ``namespace``.

    Example:
        >>> metrics = Metrics("demo")
        >>> metrics.count("alerts_total", model="late", state="firing")
        >>> metrics.registry.get_sample_value(
        ...     "headrace_alerts_total", {"namespace": "demo", "model": "late", "state": "firing"})
        1.0
    """

    def __init__(self, namespace: str) -> None:
        self.registry = CollectorRegistry()
        self.rows: dict[RowKey, Row] = {}
        """Each resume row as it is shown."""
        self._namespace = namespace
        self._found: dict[tuple[object, ...], Counter | Gauge | Histogram] = {}
        self._metrics = {name: self._make(name, kind, labels, text) for name, kind, labels, text in TABLE}

    def _make(self, name: str, kind: _Kind, labels: tuple[str, ...], text: str) -> Counter | Gauge | Histogram:
        labelled = ("namespace", *labels)
        if kind is Histogram:
            return Histogram(f"headrace_{name}", text, labelled, registry=self.registry, buckets=_LATENCY_BUCKETS)
        return kind(f"headrace_{name}", text, labelled, registry=self.registry)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter. Cost: about 1 us."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Counter)  # noqa: S101  # the table above says which is which
        metric.inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge. Cost: about 1 us."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Gauge)  # noqa: S101
        metric.set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram. Cost: about 2 us."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Histogram)  # noqa: S101
        metric.observe(value)

    def observe_all(self, name: str, values: Iterable[float], **labels: str) -> None:
        """Add several observations to a histogram. Cost: about 1 us each."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Histogram)  # noqa: S101
        for value in values:
            metric.observe(value)

    def _labelled(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge | Histogram:
        """Return the metric under its labels. Found once: the library takes 10 us to find it again."""
        place = (name, *labels.items())
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = self._metrics[name].labels(namespace=self._namespace, **labels)
        return found
