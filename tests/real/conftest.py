"""The real model server, started once for all tests of this folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.real import install
from tests.real.gguf import write_tiny_llama
from tests.real.llama import DEADLINE, Llama, running
from tests.real.proxied import proxied

MODEL = "FAILSOFT_TEST_GGUF"
"""The environment variable that names another model file than the tiny one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that needs the server carries the marker `real`."""
    for item in items:
        if "llama" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """llama.cpp's server with the tiny model, or with the one that the environment names."""
    _require_server()
    folder = tmp_path_factory.mktemp("llama")
    named = os.environ.get(MODEL)
    model = Path(named) if named else write_tiny_llama(folder / "tiny.gguf")
    with running(model, folder / "server.log", tiny=not named) as server:
        yield server


@pytest.fixture
def tiny(llama: Llama) -> Llama:
    """The server, for tests that steer the tiny model by its token ids."""
    if not llama.tiny:
        pytest.skip(f"steers the tiny model by its token ids, but {MODEL} names another")
    return llama


def _require_server() -> None:
    """Skip where the server cannot be installed; fail under CI where nobody tried."""
    if install.installed():
        return
    impossible = install.why_impossible()
    if impossible:
        pytest.skip(impossible)
    missing = "no real model server; install it with `python -m tests.real.install`"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session", params=["straight", "compatible", "lmstudio"])
def door(request: pytest.FixtureRequest, llama: Llama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL that callers are pointed at: the server itself, or Failsoft with it as a provider's upstream.

    Straight comes first: what fails there is not Failsoft's fault.
    """
    if request.param == "straight":
        yield llama.base_url
    else:
        with proxied(llama, request.param, tmp_path_factory.mktemp(request.param)) as url:
            yield url


@pytest.fixture
def client(door: str) -> Iterator[openai.OpenAI]:
    """The official SDK, which shall not hide an error by trying again."""
    with openai.OpenAI(base_url=door, api_key="none", max_retries=0, timeout=DEADLINE) as client:
        yield client
