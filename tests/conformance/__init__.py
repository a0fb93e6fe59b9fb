"""The conformance table: what becomes of each feature of OpenAI's protocol at each provider, shown by running it.

A cell is one run of a real request through the proxy to the fake upstream; its word is worked out from what the fake
saw and what the client got (`judge.py`). `python -m tests.conformance` writes `docs/conformance.md`.
"""
