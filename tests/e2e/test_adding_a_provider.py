"""`docs/adding-a-provider.md` followed letter by letter, but for the address, which becomes the fake's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import aiohttp
import pytest

from proxy.config.load import loads
from tests.e2e.conftest import running
from tests.e2e.harness import CANARY, CHAT, Child
from tests.upstream import FakeUpstream, Script

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "adding-a-provider.md").read_text()
ADDRESS = "https://api.acme.example/v1"
ASKED = CHAT | {"model": "quick", "seed": 7, "max_completion_tokens": 9}
KEY = {"ACME_API_KEY": CANARY}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


(WITHOUT, WITH), [FILE] = blocks("yaml"), blocks("python")


def at(fake: FakeUpstream, text: str) -> str:
    """The text with the fake's address in place of the vendor's."""
    assert ADDRESS in text
    return text.replace(ADDRESS, fake.url)


async def test_without_a_file(one):
    snapshot = loads(at(one, WITHOUT).encode(), "routes.yaml", KEY)
    assert not [problem for problem in snapshot.warnings if "acme" in str(problem)]
    async with running({}, lambda: snapshot) as proxy:
        answer = await proxy.post("/v1/chat/completions", ASKED)
    assert (answer.status, answer.text) == (200, "Hello, world!"), answer.body
    assert answer.headers["x-failsoft-lossy"].startswith("seed: ")
    [seen] = one.seen
    assert (seen.path, seen.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {CANARY}")
    assert seen.request.json == CHAT | {"model": "acme-small", "max_tokens": 9}


@pytest.fixture
async def acme(one, tmp_path):
    """The product with one more file, serving the page's second `routes.yaml`."""
    shutil.copytree(ROOT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "proxy" / "providers" / "acme.py").write_text(at(one, FILE))
    routes = tmp_path / "routes.yaml"
    routes.write_text(WITH)
    here = {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "FAILSOFT_STATE": str(tmp_path / "state")}
    child = await Child.start("serve", str(routes), "--port", "0", environment=here | KEY)
    yield await child.url()
    assert await child.stop() == 0, "\n".join(child.output)


async def test_with_one_file(acme, one):
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{acme}/v1/chat/completions", json=ASKED) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["x-failsoft-upstream"] == "acme"
            assert answer.headers["x-failsoft-lossy"].startswith("seed: ")
        one.script(Script(status=403, error={"message": "Your wallet is empty."}))
        broke = {"x-failsoft-offline": "never"}
        async with session.post(f"{acme}/v1/chat/completions", json=ASKED, headers=broke) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (503, "upstream_quota")
    first = one.seen[0]
    assert (first.path, first.headers["x-acme-key"]) == ("/v1/text/chat/completions", CANARY)
    assert "authorization" not in first.headers
    assert first.request.json == CHAT | {"model": "acme-small", "max_tokens": 9}
