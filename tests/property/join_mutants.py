"""What is done to the label join to see whether its check notices: one wrong text in one file each."""

from __future__ import annotations

from tests.property.mutants import Mutant


def _of(file: str, *mutants: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(f"join: {name}", file, text, instead) for name, text, instead in mutants]


JOINS = [
    *_of(
        "joins/matching.py",
        ("taken after its own horizon", "if expires < clock.passed:", "if False:"),
        ("too late a step too soon", "if expires < clock.passed:", "if expires <= clock.passed:"),
        ("too late of the wrong kind", "+= is_prediction\n", "+= 1\n"),
        ("examples that are over count", "key.forget_examples(self._rule.floor_ms(clock.passed))", "pass"),
        ("examples are not remembered", "(name in key.emitted or any(", "(any("),
        ("waiting ones are asked twice", "each.request_id == name for each in key.waiting", "False for each in ()"),
        ("copies of labels are taken", "if offset_there <= key.sources.get(source, -1):", "if False:"),
        ("the same offset is news", "offset_there <= key.sources", "offset_there < key.sources"),
        ("sources share their offsets", "key.sources.get(source, -1)", "max(key.sources.values(), default=-1)"),
        ("sources forget each other", "key.sources[source] = offset_there", "key.sources = {source: offset_there}"),
        (
            "what is said again is a revision",
            "if held is not None and (held.at_ms, held.label) == (seen.at_ms, seen.label):",
            "if False:",
        ),
        (
            "another time is the same label",
            "(held.at_ms, held.label) == (seen.at_ms, seen.label)",
            "held.label == seen.label",
        ),
        ("revisions are not counted", "tally.revised += held is not None", "tally.revised += 0"),
        (
            "the first label holds",
            "key.label = KnownLabel(seen.at_ms, seen.label,",
            "key.label = held or KnownLabel(seen.at_ms, seen.label,",
        ),
        ("kept as long as the last label only", "else max(seen.at_ms, held.keep_ms)", "else seen.at_ms"),
        ("what met a prediction is forgotten", "or (held is not None and held.is_met)", ""),
        ("given up is unknown", "known or key.given_up is not None or (held", "known or (held"),
        ("waiting is unknown", "known = bool(key.waiting or key.emitted)", "known = bool(key.emitted)"),
        ("late labels of what was given up are not counted", "not known and key.given_up is not None", "False"),
        (
            "a prediction does not make a label known",
            "if not key.label.is_met:",
            "if False:",
        ),
        ("early is not counted", "tally.early += len(examples)", "pass"),
        ("reused keys are taken where only the first counts", "if is_reused and self._rule.first_only:", "if False:"),
        ("reused keys are never taken", "if is_reused and self._rule.first_only:", "if is_reused:"),
        (
            "given up keys are free",
            "bool(remembered) or key.given_up is not None",
            "bool(remembered)",
        ),
        (
            "labels match after the horizon",
            "<= asked.at_ms + self._rule.within_ms",
            "<= asked.at_ms + 2 * self._rule.within_ms",
        ),
        ("the end of the horizon is outside", "key.label.at_ms <= asked.at_ms", "key.label.at_ms < asked.at_ms"),
        (
            "matched ones wait on",
            "key.waiting = [each for each in key.waiting if each.request_id not in key.emitted]",
            "pass",
        ),
        ("matched ones are pending", "tally.pending -= len(matched)", "pass"),
        ("labels that came late are not counted", "tally.label_late += len(candidates) - len(matched)", "pass"),
        (
            "examples at one index",
            "(offset, index), label_at_ms) for index, each in enumerate(matched)",
            "(offset, 0), label_at_ms) for index, each in enumerate(matched)",
        ),
        ("nothing is replaced", "if again:", "if False:"),
        ("replaced though it says the same", "if each.label != seen.label and", "if"),
        ("replaced after the horizon", "seen.label and self._is_in_time(each.asked, key)]", "seen.label]"),
        ("replaced where it is to be ignored", "if self._rule.replaces:", "if True:"),
        (
            "a replaced example keeps its old label",
            "Learned(one.asked, label) if one.asked.request_id in names",
            "one if one.asked.request_id in names",
        ),
        ("a revision is not marked", "is_revision=True", "is_revision=False"),
        ("a revision replaces itself", "replaces=each.label", "replaces=label"),
        (
            "revisions share indexes with matches",
            "enumerate(again, first)",
            "enumerate(again)",
        ),
        ("replaced ones are matched again", ".replaced += len(again)", ".matched += len(again)"),
        ("nobody is cleared", "for step in self._steps_due(clock):", "for step in ():"),
        ("a step is cleared too soon", "if step < clock.passed)", "if step <= clock.passed)"),
        (
            "the horizon goes back",
            "max(clock.passed, come_to_ms // self._step_ms)",
            "come_to_ms // self._step_ms",
        ),
        ("cleared examples begin anew after a kill", "clock.cursor[1] if clock.cursor[0] == offset else 0", "0"),
        (
            "cleared examples go on from another record",
            "clock.cursor[1] if clock.cursor[0] == offset else 0",
            "clock.cursor[1]",
        ),
        (
            "only the last chunk is cleared",
            "clock.due[str(step)] = chunk * self._keys_a_chunk",
            "clock.due.pop(str(step)); chunk = 1",
        ),
        ("given examples are not counted", "tally.given += len(examples)", "pass"),
        ("given to all that were dropped", "if given_up and self._rule.otherwise is not None:", "if given_up:"),
        (
            "labels are kept for good",
            "if key.label is not None and key.label.keep_ms < floor_ms:",
            "if False:",
        ),
        ("unknown are not counted", "tally.unknown += not key.label.is_met", "pass"),
        ("tombstones are kept for good", "if key.given_up is not None and key.given_up < passed:", "if False:"),
        ("tombstones go a step too soon", "key.given_up < passed:", "key.given_up <= passed:"),
        ("tombstones do not outlive the horizon", "key.given_up = passed + STEPS_A_HORIZON", "key.given_up = passed"),
        (
            "tombstones are not registered",
            "return over, self._register(cell, key, key.given_up, clock)",
            "return over, ()",
        ),
        ("a cell that changed is not written", "changed.update(dict.fromkeys(registered))", "pass"),
        ("timed out are pending", "tally.pending -= len(over)", "pass"),
        (
            "waits a step too short",
            "over = [each for each in key.waiting if each.at_ms < floor_ms]",
            "over = [each for each in key.waiting if each.at_ms < floor_ms + self._step_ms]",
        ),
        (
            "who is registered is registered again",
            "if step in key.due:\n            return ()",
            "if False:\n            return ()",
        ),
        (
            "registered once is registered for all steps",
            "if step in key.due:\n            return ()",
            "if key.due:\n            return ()",
        ),
        ("registered for good", "key.due = [step for step in key.due if step >= passed]", "pass"),
    ),
    *_of(
        "joins/__init__.py",
        ("one label partition is enough", "if len(self.newest_ms) < partitions:", "if False:"),
        ("the fastest partition decides", "min(holding) -", "max(holding) -"),
        ("disorder forgotten", "min(holding) - disorder_ms", "min(holding)"),
        ("idle ones hold back", "if source not in self.idle]", "]"),
        ("emitted ones are forgotten at once", "if at >= floor_ms}", "if False}"),
        ("emitted ones are kept for good", "if at >= floor_ms}", "}"),
        (
            "what is over is left in the store",
            "return all(at < floor_ms for at in self.emitted.values())",
            "return False",
        ),
        (
            "labels that are over are passed by",
            "(self.label is not None and self.label.keep_ms < floor_ms)\n            or",
            "",
        ),
        (
            "tombstones that are over are passed by",
            "or (self.given_up is not None and self.given_up < passed)\n",
            "\n",
        ),
        ("waiting ones are passed by", "or any(each.at_ms < floor_ms for each in self.waiting)", ""),
        ("idle for ever", "if name != source and name in self.newest_ms]", "if name in self.newest_ms]"),
        ("time goes back", "max(newest_ms, self.newest_ms.get(source, newest_ms))", "newest_ms"),
        ("tombstones are no state", "or self.label or self.given_up is not None)", "or self.label)"),
        ("examples made are no state", "self.waiting or self.emitted or self.label", "self.waiting or self.label"),
        ("labels are no state", "or self.emitted or self.label or", "or self.emitted or"),
    ),
]
