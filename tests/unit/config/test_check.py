"""What `check` says of files that can be used."""

from proxy.config.check import check
from proxy.config.load import loads
from tests.unit.config import golden

HEAD = """
upstreams:
  l: {provider: lmstudio}
  o: {provider: openai, keys: ["${KEY}"]}
  off: {provider: openai, keys: ["${EMPTY}"]}
"""


def findings(text: str) -> list[str]:
    return [str(finding) for finding in check(loads(text.encode(), "f", golden.ENVIRON))]


def about(text: str, path: str) -> list[str]:
    return [finding for finding in findings(HEAD + text) if f" {path}: " in finding]


def test_a_file_without_a_word_to_say() -> None:
    assert findings("upstreams: {l: {provider: lmstudio}}\nroutes: [{name: r, use: [l/*]}]") == []


def test_an_upstream_without_a_key() -> None:
    assert about("", "upstreams.off") == ["f:5: warning: upstreams.off: disabled: it has no key; set EMPTY"]


def test_an_upstream_that_is_switched_off_is_meant() -> None:
    (only,) = findings("upstreams: {l: {provider: lmstudio, enabled: false}, m: {provider: ollama}}")
    assert only == "f:1: hint: upstreams.l: disabled: it is switched off in the file"


def test_an_address_without_the_usual_path() -> None:
    """LM Studio answers 200 with an error at every path it does not know, so the mistake is hard to see later."""
    (only,) = findings("upstreams: {l: {provider: lmstudio, url: 'http://localhost:1234'}}")
    assert only == "f:1: warning: upstreams.l.url: an address of this provider usually ends in /v1"


def test_checks_of_a_vendor() -> None:
    (only,) = findings("upstreams: {o: {provider: openai, keys: ['${KEY}'], health: {every: 5s}}}")
    assert only == (
        "f:1: warning: upstreams.o.health: has no effect: only servers of your own are checked; "
        "if it is one, write `local: true`"
    )
    assert findings("upstreams: {l: {provider: lmstudio, health: {every: 5s}}}") == []


def test_a_route_behind_one_that_takes_everything() -> None:
    routes = "routes: [{name: all, use: [l/a]}, {name: never, match: {model: x}, use: [l/b]}]"
    assert about(routes, "routes[1]") == [
        "f:6: warning: routes[1]: never reached: `all` above takes every request it would"
    ]


def test_a_route_whose_targets_are_all_disabled() -> None:
    assert about("routes: [{name: r, use: [off/a]}]", "routes[0].use") == [
        "f:6: warning: routes[0].use: every target is disabled, so only offline answers are given"
    ]


def test_a_route_that_is_offline_on_purpose() -> None:
    assert about("routes: [{name: r, use: [offline/rules]}]", "routes[0].use") == []


def test_a_target_that_is_there_twice() -> None:
    assert about("routes: [{name: r, use: [l/a, o/a, l/a]}]", "routes[0].use[2]") == [
        "f:6: warning: routes[0].use[2]: never tried: use[0] is the same target"
    ]


def test_more_targets_than_attempts() -> None:
    routes = "routes: [{name: r, use: [l/a, off/x, l/b, l/c], retry: {attempts: 2}}]"
    assert about(routes, "routes[0].use") == ["f:6: hint: routes[0].use: beyond the 2 attempts of this route: l/c"]


def test_a_hedge_without_two_clouds() -> None:
    local = (
        "routes: [{name: r, use: [o/a, l/b], hedge: true}, {name: s, match: {model: x}, use: [o/a, o/b], hedge: {}}]"
    )
    assert about(local, "routes[0].hedge") == [
        "f:6: warning: routes[0].hedge: has no effect: there are no two targets in a cloud"
    ]
    assert about(local, "routes[1].hedge") == []


def test_the_cheapest_of_targets_without_a_price() -> None:
    routes = "routes: [{name: r, use: [l/a, o/a, o/b, o/c], order: cheapest}]\n"
    prices = "prices: {o/a: {input: 1, output: 1}, b: {input: 1, output: 1}}"
    assert about(routes + prices, "routes[0].order") == [
        "f:6: warning: routes[0].order: `o/c` has no price under `prices`"
    ]


def test_settings_without_effect_are_told_apart_from_defaults() -> None:
    text = "storage: {state: memory}\nguards: []\nalerts: [{name: a, when: error_rate > 1% over 5m}]"
    assert findings(text) == ["f:3: hint: alerts: has no effect yet: nobody is alerted yet"]


def test_every_setting_without_effect_is_one_of_the_language() -> None:
    """The list is by hand; a setting that was renamed would silently fall out of it."""
    given, _ = golden.read("every_key")
    said = {finding.split(": ")[2] for finding in findings(given) if "has no effect yet" in finding}
    assert said == {
        *("alerts", "guards", "storage.state", "storage.ledger", "upstreams.home.timeouts.total"),
        *(f"plans.gold.{name}" for name in ("requests", "tokens", "budget", "concurrency")),
        *(f"routes[0].{name}" for name in ("cache", "guards")),
    }


def test_a_stream_that_nobody_else_can_finish() -> None:
    routes = "routes: [{name: r, match: {model: x}, midstream: continue, use: [USE]}]"
    (only,) = about(routes.replace("USE", "l/a, off/a"), "routes[0].midstream")
    assert only.startswith("f:6: warning: routes[0].midstream: there is no second target; only an upstream that gives")
    assert about(routes.replace("USE", "l/a, l/b"), "routes[0].midstream") == []
    assert about(routes.replace("match: {model: x}, ", "").replace("USE", "l/a"), "routes[0].midstream") == []


def test_patience_that_is_learned_for_nothing() -> None:
    """In a route that takes everything a model that the caller names is a target, too."""
    upstreams = "upstreams: {l: {provider: lmstudio, timeouts: {first_token: auto}}, o: {provider: lmstudio}}\n"
    only = upstreams + "routes: [{name: r, match: {model: x}, use: [l/a]}]"
    assert findings(only) == [
        "f:1: warning: upstreams.l.timeouts.first_token: has no effect: no route has a second target to move on to"
    ]
    assert findings(only.replace("l/a", "l/a, o/a")) == []
    assert findings(only.replace("match: {model: x}, ", "")) == []


def test_a_secret_in_the_open() -> None:
    text = "upstreams: {l: {provider: lmstudio, headers: {X-API-Key: VALUE, x-team: labs}}}"
    assert findings(text.replace("VALUE", "abc")) == [
        'f:1: warning: upstreams.l.headers.X-API-Key: a secret belongs into a variable: "${NAME}"'
    ]
    assert findings(text.replace("VALUE", "'${KEY}'")) == []


def test_a_family_of_an_upstream_that_is_not_there() -> None:
    text = "upstreams: {studio: {provider: lmstudio}}\nfamilies: {PATTERN: {tools: false}}"
    assert findings(text.replace("PATTERN", "sutdio/x")) == [
        "f:2: warning: families['sutdio/x']: there is no upstream `sutdio`; did you mean `studio`?"
    ]
    assert findings(text.replace("PATTERN", "studio/x")) == findings(text.replace("PATTERN", "qwen/x")) == []
