"""Look into a request body without decoding it, and change a field without rebuilding it.

`read_head` decodes the few fields that routing needs and proves the whole text sound: JSON, UTF-8, shallow. `prepare`
makes the upstream's body of the caller's: where only the model's name differs, all other bytes stay as they are.

Two keys of one name are legal JSON and read differently by different parsers. All policy here reads the last one;
so a body in which a key that policy reads might occur twice is written anew, with one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec

from proxy.core.decision import Quirks
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.request import Peek

MAX_DEPTH: Final = 64
MAX_KEYS: Final = 10_000
MAX_MODEL: Final = 256

T = TypeVar("T")

_NO_BRACKET: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*+"', re.DOTALL)
_DEEP_RUN: Final = re.compile(rb"[\[{]{%d}" % (MAX_DEPTH + 1))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# An escape of an ASCII letter or underscore: nobody needs it, so it may hide a key.
_HIDDEN_LETTER: Final = re.compile(rb"\\u00(?:[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")
# Any escape; group 1 is half of a surrogate pair without its other half.
_LONE_SURROGATE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_WHERE: Final = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_REMEDY: Final = {
    "model": "Send the name of a model, as GET /v1/models lists it.",
    "messages": "Send a list with at least one message object.",
    "role": "Send one of developer, system, user, assistant or tool.",
    "prompt": "Send a string, a list of strings, a list of tokens or a list of such lists.",
    "stream": "Send true or false.",
}
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BATCH: Final = ("flex", "batch")  # tiers of callers who would rather wait than pay
_ALIASES: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


Length = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Head(msgspec.Struct):
    """The fields that every dialect of this family shares; a dialect adds its own."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Length | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: Any = None


def read_head(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode `body` with `decoder` and check the text as a whole; raises BAD_REQUEST for whatever is wrong."""
    try:
        head = decoder.decode(body)
    except msgspec.ValidationError as error:
        _refuse_field(str(error))
    except RecursionError:
        refuse(f"The body is nested too deeply. Send at most {MAX_DEPTH} levels.")
    except ValueError as error:
        _refuse_text(body, error)
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            _refuse_text(body, error)
    brackets = body.translate(None, _NO_BRACKET)
    if len(brackets) > 2 * MAX_DEPTH and _is_deep(body, brackets):
        refuse(f"The body is nested too deeply. Send at most {MAX_DEPTH} levels.")
    return head


def peek_of(head: Head, max_tokens: int | None) -> Peek:
    """What routing is told; raises BAD_REQUEST if the model's name is none."""
    check_model(head.model)
    options = head.stream_options
    return Peek(
        model=head.model,
        stream=bool(head.stream),
        include_usage=bool(options and options.include_usage),
        max_tokens=max_tokens,
        user=head.user,
        metadata=head.metadata or {},
        is_batch=head.service_tier is not None and head.service_tier in _BATCH,
    )


def check_model(model: str) -> None:
    """A model's name may reach headers, logs and paths: it is short and printable."""
    if not model.strip():
        refuse("`model` is empty. " + _REMEDY["model"], "model")
    if len(model) > MAX_MODEL:
        refuse(f"`model` is too long. Send at most {MAX_MODEL} characters.", "model")
    if _CONTROL.search(model):
        refuse("`model` holds control characters. " + _REMEDY["model"], "model")


def refuse(message: str, param: str | None = None) -> NoReturn:
    """Raise BAD_REQUEST; `message` says what, where and what to do."""
    raise ProxyError(ErrorKind.BAD_REQUEST, message, param=param)


def _refuse_field(text: str) -> NoReturn:
    """Turn msgspec's "Expected `str`, got `int` - at `$.messages[0].role`" into our answer."""
    found = _WHERE.match(text)
    what, where = found.groups() if found else (text, None)
    path = where or ""
    missing = _MISSING.match(what)
    if missing:
        field = missing.group(1)
        path = f"{path}.{field}" if path else field
        refuse(f"`{path}` is missing. {_REMEDY.get(field, '')}".rstrip(), path)
    what = what.replace("`", "").replace(" | ", " or ")
    what = what[:1].lower() + what[1:]
    if not path:
        refuse(f"The body is not valid: {what}. Send a JSON object.")
    field = path.rpartition(".")[2].partition("[")[0]
    refuse(f"`{path}` is not valid: {what}. {_REMEDY.get(field, '')}".rstrip(), path)


def _refuse_text(body: bytes, error: ValueError) -> NoReturn:
    if not body.strip():
        refuse("The body is empty. Send a JSON object.")
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(body):
        refuse("The body is not UTF-8. Send JSON in UTF-8.")
    if any(escape.group(1) for escape in _LONE_SURROGATE.finditer(body)):
        refuse("The body holds half of a surrogate pair (such as \\ud800). Send whole characters.")
    refuse(f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}. Send a JSON object.")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_deep(body: bytes, brackets: bytes) -> bool:
    """True if valid JSON is nested deeper than allowed.

    First with the brackets of strings counted in, which is cheap and nearly always enough for a no.
    """
    return not _peels_off(brackets) and not _peels_off(_STRING.sub(b"", body).translate(None, _NO_BRACKET))


def _peels_off(brackets: bytes) -> bool:
    """True if removing innermost pairs, once per allowed level, leaves nothing."""
    for _ in range(MAX_DEPTH):
        if not brackets:
            return True
        if _DEEP_RUN.search(brackets):
            return False
        # An object may hold what an array was just taken out of, and the reverse: one pass removes one level of both.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def top_level(body: bytes) -> dict[str, Any]:
    """The fields of a sound body, values undecoded (`msgspec.Raw`); of a repeated key the last one holds."""
    fields: dict[str, Any] = _TOP.decode(body)
    if len(fields) > MAX_KEYS:
        refuse(f"The body has too many fields. Send at most {MAX_KEYS}.")
    return fields


def prepare(
    body: bytes,
    peek: Peek,
    model: str,
    quirks: Quirks,
    overrides: Mapping[str, Any],
    guarded: Sequence[bytes],
) -> bytes:
    """The body for the upstream: model renamed, usage asked for, quirks and overrides applied.

    `guarded` are the quoted names of the fields, besides the model, that policy reads.
    """
    asks = peek.stream and quirks.asks_usage and not peek.include_usage
    fields = top_level(body)
    touched = [*quirks.drop, *quirks.rename, *(["stream_options"] if asks else [])]
    if (
        msgspec.json.encode(fields) == body  # compact, as the SDKs write it: writing it anew changes no other byte
        or overrides
        or any(name in fields for name in touched)
        or any(body.count(name) > 1 for name in guarded)
        or (b"\\u00" in body and _HIDDEN_LETTER.search(body))
    ):
        return _rebuild(fields, model, quirks, overrides, asks)
    spliced = splice_model(body, peek.model, model)
    if spliced is None:
        return _rebuild(fields, model, quirks, overrides, asks)
    if not asks:
        return spliced
    start = spliced.index(b"{") + 1
    return spliced[:start] + b'"stream_options": {"include_usage": true}, ' + spliced[start:]


_MODEL_KEY: Final = b'"model"'
_MODEL_FIELD: Final = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*+")')


def splice_model(body: bytes, old: str, new: str) -> bytes | None:
    """Replace the model's name in place; None if it is not certain where, so that the body must be written anew.

    `body` must be sound, its top level must have a model, and its keys may not hide letters behind escapes.
    """
    if body.count(_MODEL_KEY) != 1:
        return None
    if old == new:
        return body
    field = _MODEL_FIELD.search(body)
    if field is None:
        return None
    return body[: field.start(1)] + msgspec.json.encode(new) + body[field.end(1) :]


def _rebuild(fields: dict[str, Any], model: str, quirks: Quirks, overrides: Mapping[str, Any], asks: bool) -> bytes:
    """Write the top level anew; every value that is not changed keeps its bytes."""
    for name, value in overrides.items():
        if name in _ALIASES:
            fields.pop(_ALIASES[name], None)
        fields[name] = value
    for name in quirks.drop:
        fields.pop(name, None)
    for name, known in quirks.rename.items():
        if name in fields:
            fields[known] = fields.pop(name)
    if asks:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    fields["model"] = model
    return msgspec.json.encode(fields)


def _with_usage(options: Any) -> dict[str, Any]:
    if isinstance(options, msgspec.Raw):
        options = _TOP.decode(options) if bytes(options) != b"null" else {}
    return {**(options or {}), "include_usage": True}
