"""What only Failsoft adds in front of the real server: its receipt, and an answer when the server dies."""

from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from tests.real.gguf import write_tiny_llama
from tests.real.llama import DEADLINE, Llama, running
from tests.real.proxied import proxied

CHAT = [{"role": "user", "content": "Talk."}]


def test_the_receipt_names_the_server(client: openai.OpenAI, door: str, llama: Llama) -> None:
    """One attempt, no translation; the server itself sends no receipt."""
    sent = client.chat.completions.with_raw_response.create(model=llama.model, messages=CHAT, max_tokens=2)
    names = ("upstream", "model", "attempts", "mode")
    receipt = [sent.headers.get(f"x-failsoft-{name}") for name in names]
    assert receipt == ([None] * 4 if door == llama.base_url else ["llama", llama.model, "1", "identity"])


@pytest.mark.usefixtures("llama")
def test_the_server_dies_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    """The stream ends with an error, never as if it were whole; the next request gets an offline answer."""
    with ExitStack() as life:
        llama = life.enter_context(running(write_tiny_llama(tmp_path / "tiny.gguf"), tmp_path / "log", tiny=True))
        with (
            proxied(llama, "compatible", tmp_path) as url,
            openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=DEADLINE) as client,
        ):
            stream = client.chat.completions.create(model=llama.model, messages=CHAT, stream=True)
            assert next(stream).choices[0].delta.role == "assistant"
            life.close()
            with pytest.raises(openai.APIError):
                list(stream)
            answer = client.chat.completions.with_raw_response.create(model=llama.model, messages=CHAT)
    assert answer.headers["x-failsoft-offline"]
    assert answer.parse().model.startswith("offline/")
    assert answer.parse().choices[0].message.content
