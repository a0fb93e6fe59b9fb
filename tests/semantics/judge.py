"""What must be true of one request that has ended: its client's view against what the upstreams saw."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.semantics.model import CLASSES, EARLY, MILD, MOST_AT_A_TARGET, Ask, Reckoning, is_late
from tests.semantics.wire import OK, Sent
from tests.semantics.world import View


@dataclass(frozen=True, slots=True)
class Story:
    """One request from end to end; `left` is when its client hung up, None if it stayed."""

    ask: Ask
    tries: Sequence[Sent]
    view: View
    ended: float
    left: float | None = None


def judge(story: Story, known: Reckoning) -> None:
    """Raises AssertionError if anything happened that should not, or did not happen that should."""
    _check_tries(story)
    _check_order(story, known)
    if not story.view.is_whole:
        assert story.left is not None, "only who hangs up gets no end"
        assert story.ended <= story.left + EARLY, "everything is let go at once"
        return
    assert story.ended <= story.ask.deadline + EARLY, "the deadline is for the whole of it"
    _check_form(story)
    if "x-failsoft-offline" in story.view.receipt:
        _check_offline(story, known)
    elif story.view.text:
        _check_answer(story)
    else:
        _check_error(story, known)


def _check_tries(story: Story) -> None:
    """One after another, few enough, and none after one that was no reason to ask on."""
    tries = story.tries
    assert len(tries) <= story.ask.most_tries
    assert all(count <= MOST_AT_A_TARGET for count in Counter(sent.place for sent in tries).values())
    for before, after in itertools.pairwise(tries):
        assert before.ended is not None
        assert before.ended <= after.at, "one at a time"
        assert before.fate is not None
        assert before.fate in CLASSES, "who had success asks nobody else"
        assert CLASSES[before.fate].next_target
        assert not (before.stream and before.words), "nobody else is asked after the first word"
    assert all(sent.ended is not None and sent.ended <= story.ended for sent in tries), "nothing goes on afterwards"


def _check_order(story: Story, known: Reckoning) -> None:
    """The first of the route that could be asked was asked first."""
    asked: list[str] = []
    for sent in story.tries:
        if sent.upstream not in asked:
            asked.append(sent.upstream)
        for earlier in story.ask.route[: story.ask.route.index(sent.upstream)]:
            may_be_later = earlier in asked or known.is_suspect(story.ask, earlier)
            assert may_be_later or _excuses(story, known, earlier), f"{earlier} comes before {sent.upstream}"


def _check_form(story: Story) -> None:
    """One answer in one form: JSON, or a stream that ends in exactly one way."""
    view = story.view
    if view.is_stream:
        assert story.ask.stream
        assert (view.end_marks, len(view.finishes), len(view.errors)) in ((1, 1, 0), (0, 0, 1))
    else:
        assert len(view.finishes) + len(view.errors) == 1
        assert bool(view.errors) == (view.status >= 400)


def _check_answer(story: Story) -> None:
    last, view = story.tries[-1], story.view
    assert view.text == "".join(last.words), "all that the last one said, and nothing else"
    assert view.receipt["x-failsoft-upstream"] == last.upstream
    assert view.receipt["x-failsoft-attempts"] == str(len(story.tries))
    assert view.errors == ([] if last.fate == OK else ["stream_interrupted"])


def _check_offline(story: Story, known: Reckoning) -> None:
    assert not story.ask.refuses_offline
    assert not story.view.errors
    assert any(CLASSES[name].offline for name in _reasons(story, known)), "nobody but the client was at fault"


def _check_error(story: Story, known: Reckoning) -> None:
    (code,) = story.view.errors
    fates = {_class_of(sent, story.ask) for sent in story.tries}
    if "CLIENT" in fates:
        assert story.view.is_stream or story.view.status == 400
        return
    assert story.ask.refuses_offline or not any(CLASSES[fate].offline for fate in fates), "an offline answer was due"
    reasons = _reasons(story, known)
    deciding = reasons - MILD if fates - MILD else reasons
    answers = {answer for name in deciding for answer in CLASSES[name].answers}
    told = {code for _, code in answers} if story.view.is_stream else answers
    assert (code if story.view.is_stream else (story.view.status, code)) in told


def _reasons(story: Story, known: Reckoning) -> set[str]:
    """Why nobody answered; every target of the route must have a part in it."""
    reasons = {_class_of(sent, story.ask) for sent in story.tries}
    if story.ended >= story.ask.deadline - EARLY:
        reasons.add("LATE")
    has_given_up = len(story.tries) >= story.ask.most_tries or "LATE" in reasons
    for upstream in story.ask.route:
        excuses = _excuses(story, known, upstream)
        if not any(sent.upstream == upstream for sent in story.tries):
            assert excuses or has_given_up, f"{upstream} could have answered"
        reasons |= excuses  # of who was asked too: it was perhaps to be asked once more
    return reasons


def _excuses(story: Story, known: Reckoning, upstream: str) -> set[str]:
    """Why an upstream may not have been asked."""
    excuses = known.resting_keys(story.ask, upstream)
    if known.may_rest(story.ask, upstream):
        excuses.add("RESTING")
    if known.crowded(upstream, story.ask.at):
        excuses.add("FULL")
    return excuses


def _class_of(sent: Sent, ask: Ask) -> str:
    return "LATE" if is_late(sent, ask) else str(sent.fate)
