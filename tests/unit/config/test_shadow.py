"""When one route's conditions cover another's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.shadow import covers
from proxy.core.clock import FakeClock
from proxy.core.request import Inbound, Peek, Tenant
from proxy.routing.contents import read_contents
from proxy.routing.facts import Facts
from proxy.routing.matchers import MatchConfig, all_of, compile_match
from proxy.routing.tasks import Classifier, load

GLOBS = st.sampled_from(["a", "b", "ab", "*", "a*", "?"])
NAMES = st.lists(GLOBS, min_size=1, max_size=2)
MATCHES = st.builds(
    lambda conditions: MatchConfig.model_validate(conditions),
    st.fixed_dictionaries(
        {},
        optional={
            "model": NAMES,
            "tenant": NAMES,
            "plan": st.lists(st.sampled_from(["a", "b"]), min_size=1),
            "header": st.dictionaries(st.sampled_from(["x-a", "x-b"]), NAMES, min_size=1),
            "tokens": st.sampled_from(["> 1", "<= 5", "0..3", ">= 0"]),
            "stream": st.booleans(),
            "not": st.sampled_from([{"model": "a"}, {"model": "b"}]),
        },
    ).filter(bool),
)
CLASSIFIER = Classifier(load())
TEXTS = st.sampled_from(["a", "b", "ab", "c"])


@st.composite
def requests(draw: st.DrawFn) -> Facts:
    inbound = Inbound(
        id="1",
        correlation_id="1",
        dialect="openai_chat",
        endpoint="/v1/chat/completions",
        headers=draw(st.dictionaries(st.sampled_from(["x-a", "x-b"]), TEXTS)),
        body=b'{"model":"a","messages":[{"role":"user","content":"%s"}]}' % (b"word " * draw(st.integers(0, 12))),
        peek=Peek(model=draw(TEXTS), stream=draw(st.booleans())),
        tenant=Tenant(draw(TEXTS), plan=draw(st.sampled_from([None, "a", "b"]))),
        arrived=0.0,
    )
    return Facts(inbound, read_contents, FakeClock().wall, CLASSIFIER)


@settings(max_examples=400, deadline=None)
@given(MATCHES, MATCHES, requests())
def test_what_is_covered_is_taken(wide: MatchConfig, narrow: MatchConfig, facts: Facts) -> None:
    """No request that the narrow route takes escapes the wide one."""
    if covers(wide, narrow) and all_of(compile_match(narrow))(facts):
        assert all_of(compile_match(wide))(facts)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (None, {"model": "a"}, True),
        (None, None, True),
        ({"model": "a"}, None, False),
        ({"model": "a*"}, {"model": ["ab", "a*"], "stream": True}, True),
        ({"model": "a*"}, {"model": ["ab", "b"]}, False),
        ({"model": "*"}, {"model": "?"}, True),
        ({"header": {"x-a": "*"}}, {"header": {"x-a": "1", "x-b": "2"}}, True),
        ({"header": {"x-a": "1", "x-b": "2"}}, {"header": {"x-a": "1"}}, False),
        ({"tokens": "> 100"}, {"tokens": "200..300"}, True),
        ({"tokens": "> 100"}, {"tokens": "<= 300"}, False),
        ({"tokens": "100..200"}, {"tokens": "150..300"}, False),
        ({"stream": True}, {"stream": False}, False),
        ({"not": {"model": "a"}}, {"model": "b"}, False),
        ({"plan": ["a", "b"]}, {"plan": "b", "not": {"model": "a"}}, True),
    ],
)
def test_covering(wide: object, narrow: object, expected: bool) -> None:
    assert expected == covers(
        MatchConfig.model_validate(wide) if wide else None, MatchConfig.model_validate(narrow) if narrow else None
    )
