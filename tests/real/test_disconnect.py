"""When the caller leaves, the real server stops writing and its slot is free again."""

import http.client
import json
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.real.llama import DEADLINE, Llama, wait_until

ENDLESS = {"temperature": 0, "ignore_eos": True}
"""No `max_tokens`: the answer goes on until the context is full, which is minutes away."""

BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Talk."}]},
    "/v1/completions": {"prompt": "Talk."},
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_slot_is_free_when_the_caller_leaves(door: str, llama: Llama, path: str, stream: bool) -> None:
    """Streamed: after some of the answer was read. Whole: while the model writes and nothing has come yet."""
    wait_until(lambda: not llama.busy(), "an idle server")
    before = llama.cancelled()
    body = {"model": llama.model, "stream": stream, **ENDLESS, **BODIES[path]}
    with closing(http.client.HTTPConnection(urlsplit(door).netloc, timeout=DEADLINE)) as caller:
        caller.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        if stream:
            with caller.getresponse() as answer:
                assert answer.status == 200
                assert answer.read(2000).count(b"data: ") > 1
                assert llama.busy()
        else:
            wait_until(llama.busy, "the server begins to write")
    wait_until(lambda: llama.cancelled() > before, "the server gives the answer up")
    wait_until(lambda: not llama.busy(), "the slot is free again")
