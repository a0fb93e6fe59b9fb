"""Run llama.cpp's HTTP server on a free loopback port: `python -m tests.real.serve MODEL FD`.

The base URL is written to the open file descriptor `FD`, which is then closed; the server lives until standard
input ends, so it cannot outlive the tests that started it. llama.cpp's log goes to standard error.
"""

import os
import sys

import xllamacpp

MODEL_ID = "tests/tiny"
"""What the model is called over HTTP; many real ids hold a slash."""
SLOTS = 2
CONTEXT_PER_SLOT = 65536
"""Tokens: so many that an answer without `max_tokens` is still being written when a test leaves it."""


def main(model: str, report: int) -> None:
    """Serve `model` (a GGUF file) until standard input ends."""
    wanted = xllamacpp.CommonParams()
    wanted.model.path = model
    wanted.model_alias = {MODEL_ID}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_parallel = SLOTS
    wanted.n_ctx = SLOTS * CONTEXT_PER_SLOT
    wanted.cpuparams.n_threads = 1
    wanted.n_threads_http = 4
    wanted.warmup = False
    wanted.endpoint_slots = True
    server = xllamacpp.Server(wanted)
    with os.fdopen(report, "w") as parent:
        parent.write(server.listening_address)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
