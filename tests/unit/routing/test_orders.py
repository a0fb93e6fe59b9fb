from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.decision import Target
from proxy.routing.families import Families, FamilyConfig, load
from proxy.routing.orders import ORDERS, price_of
from proxy.routing.view import StillView
from tests.unit.routing.given import WELL, facts, places, target

A, B, C = target("cloud/a"), target("other/b"), target("third/c")
LOCAL = target("local/l")


@dataclass(frozen=True)
class Cost:
    input: float
    output: float


def ranked(
    order: str, *targets: Target, view: StillView = WELL, prices: dict[str, Cost] | None = None, **request: object
) -> list[str]:
    return places(ORDERS[order](targets, facts(**request), view, prices or {}))  # type: ignore[index, arg-type]


def test_listed() -> None:
    assert ranked("listed", C, A, B) == ["third/c", "cloud/a", "other/b"]


def test_cheapest_knows_both_names_of_a_price_and_puts_unknown_prices_last() -> None:
    prices = {"a": Cost(3, 3), "other/b": Cost(1, 1), "b": Cost(9, 9)}

    assert ranked("cheapest", C, A, B, LOCAL, prices=prices) == ["local/l", "other/b", "cloud/a", "third/c"]


def test_cheapest_is_for_this_request() -> None:
    """A long prompt makes the price of the input decide, a short one the price of the answer."""
    prices = {"a": Cost(input=1, output=20), "b": Cost(input=2, output=1)}

    assert ranked("cheapest", A, B, prices=prices, prompt="x" * 100_000) == ["cloud/a", "other/b"]
    assert ranked("cheapest", A, B, prices=prices, prompt="x") == ["other/b", "cloud/a"]


def test_fastest_measures_the_unmeasured_first() -> None:
    view = StillView(first_tokens={"cloud/a": 0.5, "other/b": 0.2})

    assert ranked("fastest", A, B, C, view=view) == ["third/c", "other/b", "cloud/a"]


def test_least_busy() -> None:
    assert ranked("least_busy", A, B, C, view=StillView(busy={"cloud": 2})) == ["other/b", "third/c", "cloud/a"]


HEAVY = (target("cloud/a", weight=90), target("other/b", weight=10))


def test_weights_are_kept_over_many_users() -> None:
    first = Counter(ranked("weighted", *HEAVY, user=f"user-{number}")[0] for number in range(2000))

    assert 1740 <= first["cloud/a"] <= 1860  # 90 % and more than four standard deviations


def test_requests_of_nobody_in_particular_are_spread() -> None:
    first = Counter(ranked("weighted", A, B, request_id=f"request-{number}")[0] for number in range(400))

    assert 150 <= first["cloud/a"] <= 250


@settings(deadline=None, max_examples=50)
@given(user=st.text(min_size=1, max_size=20), ids=st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_a_user_keeps_its_target(user: str, ids: list[str]) -> None:
    one, two = (ranked("weighted", A, B, C, user=user, request_id=name, prompt=name) for name in ids)

    assert one == two


@settings(deadline=None, max_examples=50)
@given(user=st.text(min_size=1, max_size=20), gone=st.sampled_from([A, B, C]))
def test_taking_a_target_away_moves_only_its_own_users(user: str, gone: Target) -> None:
    before = ranked("weighted", A, B, C, user=user)
    after = ranked("weighted", *(one for one in (A, B, C) if one is not gone), user=user)

    assert [place for place in before if place != str(gone)] == after


def test_a_dated_version_costs_what_the_undated_name_does() -> None:
    """Unless the file has a price for the version itself, or for this upstream's."""
    families = Families(load())
    prices = {"gpt-5.4-mini": Cost(0.75, 4.5)}
    dated = families.known(target("cloud/gpt-5.4-mini-2026-03-17"))
    assert price_of(dated, prices) == Cost(0.75, 4.5)
    assert price_of(dated, {**prices, dated.model: Cost(1.0, 1.0)}) == Cost(1.0, 1.0)
    assert price_of(dated, {**prices, dated.model: Cost(1.0, 1.0), str(dated): Cost(2.0, 2.0)}) == Cost(2.0, 2.0)
    assert price_of(families.known(target("cloud/gpt-5.4-mini-turbo")), prices) is None


def test_the_file_says_whose_price_a_model_has() -> None:
    own = {"house-*": FamilyConfig(price="gpt-5.4-mini")}
    housed = Families(load(), own).known(target("cloud/house-7"))
    assert price_of(housed, {"gpt-5.4-mini": Cost(0.75, 4.5)}) == Cost(0.75, 4.5)
