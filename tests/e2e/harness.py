"""The running proxy as tests meet it: in this process for speed, or as the child process that users start."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai

from tests.upstream import PATIENCE, FakeUpstream

CANARY = "sk-canary-5c1d7e0f9b"
"""The key that upstreams are called with; it may be seen by them and by nobody else."""
ADMIN = "admin-canary-83b2a6"
ENVIRONMENT = {"E2E_KEY": CANARY, "E2E_ADMIN_KEY": ADMIN}
_SDK = {"api_key": "client-key", "max_retries": 0, "timeout": PATIENCE}
JSON = {"content-type": "application/json"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error = self.json["error"]
        assert set(error) >= {"message", "type", "param", "code"}
        return error

    @property
    def frames(self) -> list[bytes]:
        """The frames of a stream without their blank lines, lines ended by LF; comments are left out."""
        lines = self.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return [frame for frame in lines.split(b"\n\n") if frame and not frame.startswith(b":")]

    @property
    def text(self) -> str:
        """What the model said, streamed or whole."""
        if self.headers["content-type"].startswith("application/json"):
            return "".join(choice["message"]["content"] or "" for choice in self.json["choices"])
        chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in self.frames if b"[DONE]" not in frame]
        choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


@dataclass
class Proxy:
    """A running proxy; `url` has no path, `app` is what was put together, if it runs in this process."""

    url: str
    session: aiohttp.ClientSession
    lines: list[str] = field(default_factory=list)
    app: Any = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def sdk(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", **({"api_key": "client-key", "max_retries": 0, "timeout": PATIENCE} | options)
        )

    def sync_sdk(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", **({"api_key": "client-key", "max_retries": 0, "timeout": PATIENCE} | options)
        )

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """`body` goes as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, data, headers)

    async def chat(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        return await self.post("/v1/chat/completions", CHAT | fields, headers)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.request("GET", path, None, headers)

    async def admin(self, path: str) -> Any:
        answer = await self.get(f"/admin/{path}", {"authorization": f"Bearer {ADMIN}"})
        assert answer.status == 200, answer.body
        return answer.json

    async def request(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with self.session.request(
            method,
            self.url + path,
            data=_large(data),
            headers={"content-type": "application/json"} | dict(headers or {}),
        ) as answer:
            body = await answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)


def _large(data: bytes | None) -> bytes | io.BytesIO | None:
    """As the client library wants it: as bytes it warns of large ones."""
    return io.BytesIO(data) if data is not None and len(data) > 1 << 20 else data


def upstream(fake: FakeUpstream | str, **fields: Any) -> dict[str, Any]:
    """The configuration of one fake (or of a URL where nothing listens)."""
    url = fake if isinstance(fake, str) else fake.url
    return {"provider": "compatible", "url": url, "keys": ["${E2E_KEY}"]} | fields


def document(upstreams: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """A routes.yaml: one route over the upstreams in their order, for any model; its name is kept."""
    server = {"port": 0, "admin_keys": ["${E2E_ADMIN_KEY}"]} | sections.pop("server", {})
    routes = [{"name": "all", "match": {"model": "*"}, "use": [f"{name}/*" for name in upstreams]}]
    return {"server": server, "upstreams": dict(upstreams), "routes": routes} | sections


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """As a file; JSON is YAML."""
    file = folder / "routes.yaml"
    file.write_text(json.dumps(document, indent=1))
    return file


class Child:
    """`python -m proxy serve FILE` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output: list[str] = []
        """Everything it printed, on both streams, line by line."""
        self._readers = [
            asyncio.create_task(self._collect(stream)) for stream in (process.stdout, process.stderr) if stream
        ]
        self._more = asyncio.Event()

    @classmethod
    async def start(cls, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start the command line with these arguments."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
        return cls(process)

    async def line_with(self, text: str) -> str:
        """Wait for a printed line that holds `text`. Raises AssertionError if the program ends without it."""
        while True:
            more = self._more
            if found := next((line for line in self.output if text in line), None):
                return found
            if all(reader.done() for reader in self._readers):
                raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.output))
            await more.wait()

    async def url(self) -> str:
        """The address it serves on, from the line that prints it."""
        line = await self.line_with("http://127.0.0.1:")
        start = line.index("http://127.0.0.1:")
        return line[start:].split()[0].rstrip("/.,")

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end."""
        await asyncio.gather(*self._readers)
        return await self.process.wait()

    async def _collect(self, stream: asyncio.StreamReader) -> None:
        try:
            while line := await stream.readline():
                self.output.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._wake()
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()
