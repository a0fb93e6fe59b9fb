"""Pictures, documents and cache breakpoints."""

from __future__ import annotations

import base64

import pytest

from proxy.core.chat import FilePart, ImagePart, Losses, TokensPart
from proxy.core.errors import ProxyError
from proxy.wire.dialects.anthropic_messages.blocks import block
from tests.unit.wire.anthropic_messages.asking import ask, text, tool, user


def written(part):
    losses = Losses()
    return block(part, "here", losses), [str(loss) for loss in losses.found]


def b64(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (ImagePart(url="https://x/a.png"), {"type": "url", "url": "https://x/a.png"}),
        (
            ImagePart(data="aGk=", media_type="image/JPG"),
            {"type": "base64", "media_type": "image/jpeg", "data": "aGk="},
        ),
        (
            FilePart(data="aGk=", media_type="image/webp"),
            {"type": "base64", "media_type": "image/webp", "data": "aGk="},
        ),
    ],
)
def test_images(part, source):
    assert written(part) == ({"type": "image", "source": source}, [])


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            FilePart("JVBERi0x", "application/pdf"),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        ),
        (FilePart("JVBERi0x"), {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}),
        (FilePart(b64("ä,b"), "text/csv"), {"type": "text", "media_type": "text/plain", "data": "ä,b"}),
        (FilePart(b64("{}"), "application/json"), {"type": "text", "media_type": "text/plain", "data": "{}"}),
        (FilePart(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
        (FilePart(url="https://x/a.pdf"), {"type": "url", "url": "https://x/a.pdf"}),
    ],
)
def test_documents(part, source):
    assert written(part) == ({"type": "document", "source": source}, [])


def test_a_document_keeps_its_name():
    data = f"data:text/plain;base64,{b64('hi')}"
    sent, _ = ask(user([{"type": "file", "file": {"filename": "a.txt", "file_data": data}}]))
    assert sent["messages"][0]["content"][0]["title"] == "a.txt"


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(url="gs://bucket/a.png"),
        ImagePart(data="aGk=", media_type="image/tiff"),
        FilePart("aGk=", "application/zip"),
        FilePart("aGk="),
        FilePart("/w==", "text/plain"),
        FilePart("not base64", "text/plain"),
        TokensPart((1, 2)),
    ],
)
def test_what_the_model_cannot_read_is_refused(part):
    with pytest.raises(ProxyError) as caught:
        written(part)
    assert caught.value.param in ("here", "prompt")


def test_what_only_tunes_is_lost():
    assert written(ImagePart(url="https://x/a", detail="high"))[1] == ["here.image_url.detail: there is no equivalent"]
    assert written(ImagePart(url="https://x/a", detail="auto"))[1] == []


HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "ephemeral"}),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "5m"}}, {"type": "ephemeral"}),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}, HOUR),
        ({"cache_control": HOUR}, HOUR),
    ],
)
def test_cache_breakpoints_on_parts_messages_and_results(field, sent):
    found, losses = ask(user([text("a") | field, text("b")]), user("c") | field)
    marks = [one.get("cache_control") for one in found["messages"][0]["content"]]
    assert (marks, losses) == ([sent, None, sent], [])


def test_four_breakpoints_at_most_the_last_ones():
    marked = text("a") | {"cache_control": {"type": "ephemeral"}}
    extra = {"cache_control": {"type": "ephemeral"}}
    found, losses = ask(user([marked] * 4), tools=[tool(**extra)])
    assert "cache_control" not in found["tools"][0]
    assert all("cache_control" in one for one in found["messages"][0]["content"])
    assert losses == ["prompt_cache_breakpoint: the vendor takes 4 breakpoints"]
    found, losses = ask(user([marked] * 4), **extra)
    assert sum("cache_control" in one for one in found["messages"][0]["content"]) == 3
