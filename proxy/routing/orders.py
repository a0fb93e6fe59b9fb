"""How the targets of a route are ranked: one function per order, all deterministic, all stable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

from proxy.core.decision import Target
from proxy.routing.facts import Facts
from proxy.routing.routes import Order
from proxy.routing.view import View

USUAL_ANSWER = 500
"""Tokens of an answer whose caller set no limit."""

_PRICED_TOKENS = 1_000_000  # what a price is for


class Price(Protocol):
    """What a model costs, in one currency per 1,000,000 tokens."""

    @property
    def input(self) -> float: ...

    @property
    def output(self) -> float: ...


Prices = Mapping[str, Price]
"""Prices by `upstream/model` or, for all upstreams that have it, by `model`."""

Rank = Callable[[Sequence[Target], Facts, View, Prices], Sequence[Target]]


def cost(target: Target, prompt: int, answer: int, prices: Prices) -> float | None:
    """What so many tokens cost at a target: nothing on one's own machines, None where no price is known."""
    if target.upstream.local:
        return 0.0
    price = price_of(target, prices)
    return None if price is None else (float(price.input) * prompt + float(price.output) * answer) / _PRICED_TOKENS


def price_of(target: Target, prices: Prices) -> Price | None:
    """The most particular one: of the target, of the model anywhere, of the model that it is a version of."""
    family = target.family.price if target.family is not None else None
    names = (str(target), target.model, family)
    return next((prices[name] for name in names if name is not None and name in prices), None)


def listed(targets: Sequence[Target], _facts: Facts, _view: View, _prices: Prices) -> Sequence[Target]:
    """As the file has them."""
    return targets


def cheapest(targets: Sequence[Target], facts: Facts, _view: View, prices: Prices) -> Sequence[Target]:
    """By the expected cost of this request; one's own machines cost nothing, unknown prices come last."""
    answer = facts.inbound.peek.max_tokens or USUAL_ANSWER

    def expected(target: Target) -> float:
        found = cost(target, facts.tokens, answer, prices)
        return math.inf if found is None else found

    return sorted(targets, key=expected)


def fastest(targets: Sequence[Target], _facts: Facts, view: View, _prices: Prices) -> Sequence[Target]:
    """By the time to the first token; those without a measurement come first, so that each gets one."""
    return sorted(targets, key=lambda target: view.first_token(target) or 0.0)


def least_busy(targets: Sequence[Target], _facts: Facts, view: View, _prices: Prices) -> Sequence[Target]:
    """By the requests in flight at the target's upstream."""
    return sorted(targets, key=lambda target: view.requests_at(target.upstream.name))


def weighted(targets: Sequence[Target], facts: Facts, _view: View, _prices: Prices) -> Sequence[Target]:
    """Drawn in proportion to the weights, the same for the same user or conversation.

    Weighted rendezvous hashing: each target draws -ln(u)/weight from the hash of user and target, the smallest leads.
    Taking a target away moves only the users it had, and each user's second choice is drawn just as fairly.
    """
    group = f"{facts.tenant}\0{facts.group}".encode(errors="surrogatepass")
    salt = blake2b(group, digest_size=16).digest()

    def draw(target: Target) -> float:
        digest = blake2b(str(target).encode(errors="surrogatepass"), digest_size=8, key=salt).digest()
        uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
        return -math.log(uniform) / target.weight

    return sorted(targets, key=draw)


ORDERS: Mapping[Order, Rank] = {
    "listed": listed,
    "cheapest": cheapest,
    "fastest": fastest,
    "least_busy": least_busy,
    "weighted": weighted,
}
