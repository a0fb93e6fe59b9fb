"""What upstreams do not have is not asked for again, for a minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.absence import MEMORY, Absences

NAMES = st.sampled_from("abc")
STEPS = st.lists(st.tuples(st.sampled_from(["note", "forget"]), NAMES, NAMES, st.floats(0, 2 * MEMORY)), max_size=40)


@given(STEPS)
def test_an_absence_is_believed_for_a_minute_unless_the_model_comes(steps):
    absences, model, now = Absences(), {}, 0.0
    for what, upstream, name, seconds in steps:
        now += seconds
        if what == "note":
            absences.note(upstream, name, now)
            model[upstream, name] = now + MEMORY
        else:
            absences.forget(upstream, [name])
            model.pop((upstream, name), None)
        for place in ((u, m) for u in "abc" for m in "abc"):
            expected = model.get(place)
            assert absences.until(*place, now) == (expected if expected is not None and now < expected else None)


def test_names_that_callers_make_up_do_not_fill_the_memory():
    absences = Absences()
    for number in range(5000):
        absences.note("one", f"m{number}", 0.0)
    known = [number for number in range(5000) if absences.until("one", f"m{number}", 0.0) is not None]
    assert known == list(range(5000 - 4096, 5000))


def test_nothing_is_left_of_what_is_over():
    absences = Absences()
    for number in range(100):
        absences.note("one", f"m{number}", number)
    absences.note("one", "last", 100 + 2 * MEMORY)
    assert absences
    absences.forget("one", ["last"])
    assert not absences
