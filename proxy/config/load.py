"""Read a configuration file: bytes → document → decoded sections → snapshot, or one error with every mistake."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from proxy.config.compile import Snapshot, compile_config
from proxy.config.document import MAX_BYTES, Document, parse
from proxy.config.locate import problems_of
from proxy.config.problems import ConfigError, Path, Problem, spell
from proxy.config.schema import Config, json_schema
from proxy.config.survey import survey
from proxy.fields import Environment, is_variable
from proxy.providers import discover as discover_providers
from proxy.wire.dialects import discover as discover_dialects

_ELSEWHERE = "a variable is read only where a secret, an address or another value of the deployment belongs"


def _variables(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text of a document that is a variable, with its path."""
    if isinstance(value, str):
        if is_variable(value):
            yield path, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _variables(below, (*path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _variables(below, (*path, number))


def _is_covered(path: Path, known: set[str]) -> bool:
    """True if a value around `path` was reported, so that what is inside may never have been looked at."""
    return any(spell(path[:length]) in known for length in range(1, len(path) + 1))


def _misplaced(document: Document, environment: Environment, known: set[str]) -> list[Problem]:
    """Variables in places where none is read."""
    return [
        document.problem(path, _ELSEWHERE)
        for path, text in _variables(document.value, ())
        if id(text) not in environment.taken and not _is_covered(path, known)
    ]


def decode(document: Document, environ: Mapping[str, str], providers: Collection[str], found: list[Problem]) -> Config:
    """Decode a document strictly.

    Raises ConfigError with `found` and all that is wrong besides; a mistake inside a value that is reported already
    (an alias, a key written twice) is not a second one.
    """
    environment = Environment(environ)
    config: Config | None = None
    problems = list(found)
    known = {problem.path for problem in found}

    def add(more: Iterable[Problem]) -> None:
        problems.extend(problem for problem in more if problem.path not in known)
        known.update(problem.path for problem in problems)

    try:
        config = Config.model_validate(document.value, context=environment)
    except ValidationError as error:
        add(problems_of(error, document, json_schema))
    add(_misplaced(document, environment, known))
    if config is None or problems:
        add(document.problem(path, message) for path, message in survey(document.value, providers))
        raise ConfigError(problems)
    return config


def loads(data: bytes, file: str, environ: Mapping[str, str]) -> Snapshot:
    """The snapshot of a file's bytes; `file` is only its name. Raises ConfigError."""
    document, found = parse(data, file)
    providers = discover_providers()
    usable = [name for name, provider in providers.items() if not provider.offline]
    config = decode(document, environ, usable, found)
    fingerprint = hashlib.sha256(data).hexdigest()[:12]
    return compile_config(config, document, fingerprint, environ, providers, discover_dialects())


def bytes_of(path: str | FilePath) -> bytes:
    """What is in a file, up to the size that is refused. Raises ConfigError if it cannot be read."""
    file = str(path)
    try:
        with FilePath(path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(file, 1, "", f"cannot be read: {error.strerror or error}")]) from None
    except ValueError:
        raise ConfigError([Problem(file, 1, "", "cannot be read: this is no file name")]) from None


def read(path: str | FilePath, environ: Mapping[str, str]) -> Snapshot:
    """The snapshot of the file at `path`, with variables from `environ`. Raises ConfigError, whatever is wrong."""
    return loads(bytes_of(path), str(path), environ)
