"""Puts into records by what a graph's answers were ranked: behind the replies, of the first places alone.

Each answer is a `streams.rankings.Ranking`. A place whose candidate says what its label will come with is a prediction
of every model with a label that was asked too, in that model's outcomes: there it is joined, learned and measured as
any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from agents.read_candidates import Reading
from agents.recall_candidates import CandidateRecall
from agents.recall_personal import PersonalReader
from agents.tell_answers import Answered
from agents.tell_answers import versions as told
from definitions.declared import GraphDefinition, ModelDefinition
from online_models.executor import TrainedVersion
from online_models.graphs import GraphRun, Known, learner_column
from online_models.graphs.plan import Asked, Plan
from online_models.turns import MEMBER
from streams import topics
from streams.candidates import candidate_of
from streams.messages import Prediction, encode
from streams.rankings import RankedPlace, Ranking
from streams.reading import Served
from streams.request_reply import Request
from streams.vectors import VectorLayout


@dataclass(frozen=True, slots=True)
class GraphTurn:
    """A micro-batch that was answered, with everything that it was answered by."""

    requests: Sequence[Request]
    run: GraphRun
    reading: Reading
    recall: CandidateRecall
    releases: Mapping[str, str]
    """Model to the release in force."""


class RankedAnswer(Answered, frozen=True):
    """A request with its ranking, and the micro-batch that it was in."""

    ranking: GraphTurn | None = None


class RankingLog:
    """What is logged of the answers of one graph.

    Args:
        graph: what was asked.
        namespace: leads the topics.
        personal: model name to what reads its personal learners.
    """

    def __init__(self, graph: GraphDefinition, namespace: str, personal: Mapping[str, PersonalReader]) -> None:
        self._graph = graph
        self._topic = topics.rankings(namespace, graph)
        self._personal = personal
        self._candidates = {each.name for each in graph.views if graph.is_of_candidates(each)}
        asked = [each for each in Plan.of(graph).made.values() if isinstance(each, Asked)]
        self._labelled = [
            _Labelled(model, topics.outcomes(namespace, model), each.names, VectorLayout.of(model))
            for each in {each.model: each for each in asked}.values()
            if (model := graph.model(each.model)).label is not None
        ]

    def records(self, answers: Sequence[Answered]) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield what is to be logged: topic, key, value.

        Cost, behind the replies: 45 us a place, 30 more where it is a prediction; 0.4 KiB, and 0.9 KiB a prediction.
        """
        if not self._graph.logged:
            return
        for answer in answers:
            if isinstance(answer, RankedAnswer) and answer.ranking is not None:
                number = answer.index
                known, ranked = answer.ranking.run.known(number), answer.ranking.run.answers[number]
                places = ranked.places[: len(known.rows)] if ranked.is_answer else ()
                seen = _Seen(answer, answer.ranking, number, known, places)
                ranking = self._ranking(seen)
                yield self._topic, answer.request.request_id.encode(), encode(ranking)
                for labelled in self._labelled:
                    for prediction in self._predictions(seen, ranking, labelled):
                        yield labelled.outcomes, (prediction.label_key or "").encode(), encode(prediction)

    def _ranking(self, seen: _Seen) -> Ranking:
        turn, request, reply = seen.turn, seen.answer.request, seen.answer.reply
        given = request.candidates
        own = turn.reading.of_request(seen.number)
        ages = _ages(own)
        read = turn.reading.of_candidates(seen.number, seen.places)
        ranked = turn.run.answers[seen.number]
        places = []
        for place, values, score in zip(seen.places, seen.known.rows, ranked.scores, strict=False):
            found = read[place]
            of_place = ages | _ages(found)
            places.append(
                RankedPlace(
                    id=given.ids[place] if given else "",
                    score=score,
                    place=place,
                    values=list(values),
                    ages_ms=[of_place.get(name) for name in seen.known.names],
                    positions=_positions(found),
                    label_key=None if given is None else candidate_of(self._graph, request, place).label_key,
                )
            )
        return Ranking(
            request_id=request.request_id,
            graph=self._graph.key,
            definition=self._graph.digest,
            at_ms=request.at_ms,
            status=reply.status,
            reason=reply.reason,
            degraded=reply.degraded,
            entities=dict(request.entities),
            inputs=dict(request.inputs),
            names=list(seen.known.names),
            places=places,
            candidates=len(given.ids) if given else 0,
            answered=len(ranked.places) if ranked.is_answer else 0,
            versions=reply.versions,
            releases={name: digest for name, digest in turn.releases.items() if digest},
            positions=_positions(own),
            features_as_of=reply.features_as_of,
            traceparent=request.traceparent,
        )

    def _predictions(self, seen: _Seen, ranking: Ranking, labelled: _Labelled) -> Iterator[Prediction]:
        model, turn, request = labelled.model, seen.turn, seen.answer.request
        took_part = [each.version for each in turn.run.versions if each.model == model.name]
        answered = next((each for each in took_part if each.role != MEMBER), None)
        if answered is None:
            return
        views = {each.name for each in model.views}
        for place in ranking.places:
            row = dict(zip(ranking.names, place.values, strict=True))
            scores = {
                each.learner: score
                for each in took_part
                if isinstance(score := row.get(learner_column(model.name, each.learner)), float)
            }
            if place.label_key is None or answered.learner not in scores:
                continue
            ages = dict(zip(ranking.names, place.ages_ms, strict=True))
            known = {**row, **request.inputs}
            yield Prediction(
                request_id=f"{request.request_id}#{place.place}",
                model=model.key,
                release=turn.releases.get(model.name, ""),
                label_key=place.label_key,
                at_ms=request.at_ms,
                vector=[known[name] for name in labelled.names],
                ages_ms=labelled.layout.ages_ms(ages),
                scores=scores,
                versions=told([each for each in took_part if each.learner in scores]),
                champion=answered.learner,
                status=ranking.status,
                arm=answered.learner,
                propensity=self._propensity(seen, model, answered, place.place, scores),
                positions=_of_views(ranking.positions | place.positions, views),
                features_as_of=ranking.features_as_of,
                traceparent=request.traceparent,
                entities=self._entities(seen, model, place.place),
            )

    def _propensity(
        self, seen: _Seen, model: ModelDefinition, by: TrainedVersion, place: int, scores: Mapping[str, float]
    ) -> float:
        """Return how probable what was drawn for the candidate was; 1 where nothing is drawn."""
        remembered = seen.turn.recall.remembered.get((model.name, by.learner), {}).get((seen.number, place))
        return 1.0 if remembered is None else remembered.propensity(scores[remembered.model.offset])

    def _entities(self, seen: _Seen, model: ModelDefinition, place: int) -> dict[str, str | int]:
        reader = self._personal.get(model.name)
        return {} if reader is None else reader.entities(candidate_of(self._graph, seen.answer.request, place))


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A model of the graph that learns from labels."""

    model: ModelDefinition
    outcomes: str
    names: Sequence[str]
    """What each place of its vector is called in the graph."""
    layout: VectorLayout


@dataclass(frozen=True, slots=True)
class _Seen:
    """One answer, as it is being logged."""

    answer: Answered
    turn: GraphTurn
    number: int
    known: Known
    places: Sequence[int]


def _ages(served: Sequence[Served]) -> dict[str, int | None]:
    return {name: age for each in served for name, age in each.ages_ms().items()}


def _positions(served: Sequence[Served]) -> dict[str, dict[str, int]]:
    return {key: dict(reached) for each in served for key, reached in each.positions.items()}


def _of_views(positions: Mapping[str, Mapping[str, int]], views: AbstractSet[str]) -> dict[str, dict[str, int]]:
    """Return the positions of a model's views; none where not all of them were read, as for a request alone."""
    own = {key: dict(at) for key, at in positions.items() if key.partition(".")[0] in views}
    return own if {key.partition(".")[0] for key in own} == views else {}
