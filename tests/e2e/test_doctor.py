"""`failsoft doctor`: what it finds at upstreams that work, and what it advises for those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.e2e.harness import CANARY, Child, document, upstream, write
from tests.upstream import Script
from tests.upstream.dialects.lmstudio_native import LMStudio
from tests.upstream.local import Model

GONE = "http://127.0.0.1:9/v1"


async def doctor(config: Mapping[str, Any], folder, *flags: str) -> tuple[int, list[str]]:
    child = await Child.start("doctor", str(write(config, folder)), *flags, environment={"SECOND": "sk-second"})
    return await child.ended(), child.output


def row(output: list[str], name: str) -> list[str]:
    return next(line for line in output if line.startswith(f"{name} ")).split()


async def test_each_upstream_has_its_row_and_its_advice(tmp_path, one, two):
    two.script(Script(status=401), path="/models", times=None)
    config = document({
        "good": upstream(one), "locked": upstream(two), "gone": upstream(GONE),
        "off": upstream(GONE, provider="deepseek", keys=["${ABSENT:-}"]),
    })  # fmt: skip
    code, output = await doctor(config, tmp_path)
    assert code == 0
    assert row(output, "good")[2:4] == ["3", "models,"]
    assert (row(output, "good")[-1], row(output, "locked")[-1], row(output, "gone")[-1]) == ("works", "auth", "connect")
    told = "\n".join(output)
    assert "locked: the key was refused" in told
    assert f"gone: nothing answers at {GONE}" in told
    assert "off: not tried, it is disabled: it has no key; set ABSENT" in told
    assert CANARY not in told
    assert one.seen == two.seen == []


async def test_each_key_is_tried_by_itself(tmp_path, one):
    one.script(
        Script(status=401),
        path="/models",
        times=None,
        when=lambda request: request.header("authorization") == f"Bearer {CANARY}",
    )
    config = document({"one": upstream(one, keys=["${E2E_KEY}", "${SECOND}"])})
    code, output = await doctor(config, tmp_path)
    assert code == 0
    assert [line.split()[-1] for line in output if line.startswith("one ")] == ["auth", "works"]


async def test_a_prompt_is_one_token_by_the_model_that_the_file_names(tmp_path, one):
    config = document({"one": upstream(one)}, models={"best": ["one/fake-small"]})
    code, output = await doctor(config, tmp_path, "--prompt")
    assert (code, row(output, "one")[-1]) == (0, "works")
    assert "fake-small," in row(output, "one")
    (asked,) = one.seen
    assert (asked.request.json["model"], asked.request.json["max_completion_tokens"]) == ("fake-small", 1)


async def test_a_prompt_decides(tmp_path, one, two):
    """A list that cannot be had is no harm where prompts are answered; the other way round it is."""
    one.script(Script(status=404), path="/models", times=None)
    two.script(Script(status=402), times=None)
    config = document({"one": upstream(one, default_model="m"), "two": upstream(two)})
    code, output = await doctor(config, tmp_path, "--prompt")
    assert code == 0
    assert (row(output, "one")[-1], row(output, "two")[-1]) == ("works", "money")
    assert any(line.startswith("two: the account is exhausted") for line in output)


async def test_nothing_that_works_is_a_failure(tmp_path):
    code, output = await doctor(document({"gone": upstream(GONE)}), tmp_path)
    assert code == 1
    assert "no upstream works: requests get offline answers" in output


async def test_a_file_with_mistakes_is_not_tried(tmp_path):
    code, output = await doctor({"upstreams": {"x": {"provider": "nobody"}}}, tmp_path)
    assert code == 1
    assert "unknown provider" in "\n".join(output)


async def test_a_local_model_is_loaded_for_the_prompt_and_unloaded_after_it(tmp_path, one):
    studio = LMStudio({"a": Model("a"), "b": Model("b")})
    one.simulate(studio)
    config = document({"one": upstream(one, provider="lmstudio", ensure_loaded={})})
    code, output = await doctor(config, tmp_path, "--prompt")
    assert (code, row(output, "one")[2:4]) == (0, ["2", "models,"]), output
    assert ([name for name, _ in studio.loads], studio.unloads) == (["a"], ["a"])
    studio.put("b")
    code, output = await doctor(config, tmp_path, "--prompt")
    assert (code, len(studio.loads)) == (0, 1), "what is in memory is asked"
    assert list(studio.loaded) == ["b"]
