"""Requests as bytes: a small incremental HTTP/1.1 request reader without I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request, exactly as it came: header names keep their case and order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The value of the first header called `name`, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body's fields; empty if it is no JSON object."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class MalformedRequest(Exception):
    """What came in is not HTTP/1.1 as this reader knows it."""


class RequestReader:
    """Feed it bytes, take whole requests; pipelined requests come out in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, tuple[tuple[str, str], ...]] | None = None
        self._body = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes. Raises MalformedRequest."""
        self._buffer += data
        found = []
        while (request := self._next()) is not None:
            found.append(request)
        return found

    def _next(self) -> Request | None:
        if self._head is None and not self._take_head():
            return None
        assert self._head is not None
        method, target, headers = self._head
        fields = {name.lower(): value for name, value in headers}
        if "chunked" in fields.get("transfer-encoding", "").lower():
            if not self._take_chunks():
                return None
        else:
            length = int(fields.get("content-length", "0"))
            if len(self._buffer) < length:
                return None
            self._body = self._buffer[:length]
            del self._buffer[:length]
        request = Request(method, target, headers, bytes(self._body))
        self._head, self._body = None, bytearray()
        return request

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        try:
            method, target, version = lines[0].split(" ")
            headers = tuple((name, value.strip(" \t")) for name, value in (line.split(":", 1) for line in lines[1:]))
        except ValueError:
            raise MalformedRequest(lines[0]) from None
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise MalformedRequest(version)
        self._head = (method, target, headers)
        return True

    def _take_chunks(self) -> bool:
        """Move whole chunks to the body; True when the last one (and no trailer) is in."""
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return False
            try:
                size = int(self._buffer[:end].partition(b";")[0], 16)
            except ValueError:
                raise MalformedRequest("chunk size") from None
            if len(self._buffer) < end + 2 + size + 2:
                return False
            self._body += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + 2 + size + 2]
            if size == 0:
                return True
