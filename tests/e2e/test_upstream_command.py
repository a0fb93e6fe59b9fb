"""`failsoft upstream`: an operator takes an upstream out of service from the shell, and back."""

from __future__ import annotations

import pytest

from tests.e2e.harness import ADMIN, Child, Proxy, document, upstream


@pytest.fixture
async def proxy(serve, one, two) -> Proxy:
    return await serve(document({"one": upstream(one), "two": upstream(two)}))


async def command(proxy: Proxy, *arguments: str, key: str = ADMIN) -> tuple[int, list[str]]:
    child = await Child.start("upstream", *arguments, "--url", proxy.url, "--key", key)
    return await child.ended(), child.output


async def test_paused_and_resumed(proxy):
    code, output = await command(proxy, "pause", "one", "--reason", "new disk", "--until", "30m")
    assert code == 0
    assert output[0].startswith("one is in maintenance until 20")
    assert output[0].endswith("; 0 requests are still under way there")
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "two"

    assert await command(proxy, "resume", "one", "--reason", "it is in") == (0, ["one takes requests"])
    assert (await proxy.chat()).headers["x-failsoft-upstream"] == "one"
    code, output = await command(proxy, "resume", "one", "--reason", "to be sure")
    assert (code, output) == (0, ["one takes requests; it was not in maintenance"])
    assert [deed["reason"] for deed in (await proxy.admin("audit"))["deeds"]] == ["to be sure", "it is in", "new disk"]


async def test_refusals_are_told(proxy):
    code, output = await command(proxy, "pause", "oen", "--reason", "new disk")
    assert code == 1
    assert "did you mean `one`" in output[0]
    code, output = await command(proxy, "pause", "one", "--reason", "new disk", key="wrong")
    assert code == 1
    assert "admin key" in output[0]
    code, _ = await command(proxy, "pause", "one")
    assert code == 2
