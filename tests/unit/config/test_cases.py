"""The runner of a file's own tests: what passes, and what is said of what does not."""

from collections.abc import Sequence

import msgspec
import pytest

from proxy.config.cases import Outcome, body_of, prove, run
from proxy.config.load import loads
from proxy.config.problems import ConfigError
from proxy.config.sections import GivenConfig
from proxy.routing.contents import read_contents
from proxy.wire.dialects import discover

DIALECTS = discover()
HEAD = """
upstreams:
  home: {provider: lmstudio}
  cloud: {provider: openai, keys: ["${KEY:-}"]}
  off: {provider: openai, enabled: false}
models: {nice: [cloud/big]}
plans: {gold: {}, silver: {models: [nice]}}
tenants:
  acme: {plan: gold, defaults: {model: nice}, flags: {offline: never}}
  left: {enabled: false}
  public: {anonymous: true}
routes:
  - {name: night, match: {time: {hours: "22:00-06:00"}}, use: [home/night]}
  - {name: big, match: {tokens: "> 1000"}, use: [cloud/big, home/small]}
  - {name: seen, match: {has: [images, audio, files, tools, json_schema, logprobs]}, use: [off/a, cloud/eyes]}
  - {name: told, match: {header: {x-team: labs}, metadata: {job: "1"}}, use: [home/told]}
  - {name: whose, match: {tenant: acme}, use: [home/acme]}
  - {name: legacy, match: {endpoint: /v1/completions}, use: [home/old]}
  - {name: stream, match: {stream: true}, use: [home/fast]}
  - {name: rest, use: [home/*]}
families: {cloud/big: {context: 50000}}
tests:
"""


def outcomes(case: str) -> list[Outcome]:
    return run(loads((HEAD + f"  - {case}\n").encode(), "f.yaml", {}), DIALECTS)


def wrong(case: str) -> Sequence[str]:
    (outcome,) = outcomes(case)
    return outcome.wrong


@pytest.mark.parametrize(
    "case",
    [
        "expect: {route: rest, first: home/*, task: general, complexity: simple}",
        "{given: {prompt: 'Translate into German: good morning'}, expect: {task: translation}}",
        "{given: {at: '2026-01-05T23:00Z'}, expect: {route: night}}",
        "{given: {tokens: 5000}, expect: {route: big, targets: [cloud/big, home/small]}}",
        "{given: {tokens: 60000}, expect: {route: big, targets: [home/small]}}",
        "{given: {tokens: 5000, down: [cloud]}, expect: {first: home/small, targets: [home/small, cloud/big]}}",
        "{given: {has: [audio, tools]}, expect: {route: seen, first: cloud/eyes}}",
        "{given: {header: {X-Team: labs}, metadata: {job: '1'}}, expect: {route: told}}",
        "{given: {tenant: acme}, expect: {route: whose, first: home/acme}}",
        "{given: {plan: silver, model: nice}, expect: {first: cloud/big}}",
        "{given: {plan: silver, model: home/x}, expect: {error: model_not_found}}",
        "{given: {tenant: left}, expect: {error: invalid_api_key}}",
        "{given: {endpoint: /v1/completions, system: S}, expect: {route: legacy}}",
        "{given: {endpoint: /v1/nothing}, expect: {error: unknown_url}}",
        "{given: {model: ' '}, expect: {error: bad_request}}",
        "{given: {stream: true}, expect: {route: stream}}",
        "{given: {down: [home, cloud]}, expect: {level: rules}}",
        "{expect: {targets: [home/*, offline/stale, offline/patterns, offline/rules]}}",
    ],
)
def test_what_passes(case: str) -> None:
    assert wrong(case) == ()


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("{expect: {route: big}}", "route: expected big, found rest"),
        ("{expect: {first: cloud/*}}", "first: expected cloud/*, found home/auto"),
        ("{expect: {targets: [home/x]}}", "targets: expected home/x, found home/auto"),
        ("{expect: {level: rules}}", "level: expected rules, found an answer of home/auto"),
        ("{expect: {error: model_not_found}}", "error: expected model_not_found, found the route rest"),
        ("{expect: {complexity: complex}}", "complexity: expected complex, found simple"),
        ("{expect: {task: code}}", "task: expected code, found general (ask 'hello' → "),
        ("{given: {down: [home], header: {x-failsoft-offline: never}}, expect: {first: home/*}}", "found nothing"),
        (
            "{given: {plan: silver, model: home/x}, expect: {first: home/*}}",
            "found the error 404 model_not_found: The model",
        ),
        (
            "{given: {plan: silver, model: home/x}, expect: {error: no_upstream}}",
            "expected no_upstream, found model_not_found",
        ),
        ("{given: {endpoint: /v1/x}, expect: {route: rest}}", "refused before any rule was asked: 404 unknown_url"),
    ],
)
def test_what_is_said_of_a_failure(case: str, told: str) -> None:
    (said,) = wrong(case)

    assert told in said


def test_a_case_without_a_name_has_its_number_and_what_it_expects() -> None:
    (outcome,) = outcomes("{expect: {route: rest, task: general}}")

    assert (outcome.name, outcome.line) == ("tests[0]: route rest, task general", HEAD.count("\n") + 1)


def test_a_file_that_disproves_itself_is_not_fit() -> None:
    """What a reload asks."""
    with pytest.raises(ConfigError, match=r"^f.yaml:\d+: night: route: expected night, found rest$"):
        prove(loads((HEAD + "  - {name: night, expect: {route: night}}\n").encode(), "f.yaml", {}), DIALECTS)
    prove(loads((HEAD + "  - expect: {route: rest}\n").encode(), "f.yaml", {}), DIALECTS)


def test_every_feature_is_in_the_request_that_claims_it() -> None:
    for feature in ("tools", "images", "audio", "files", "json_schema", "logprobs"):
        body = body_of(GivenConfig(has=(feature,)))

        assert read_contents(body).features == {feature}


def test_the_words_stand_where_callers_write_them() -> None:
    said = msgspec.json.decode(body_of(GivenConfig(prompt="P", system="S", model="m")))

    assert said["messages"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "P"}]
