"""Cases in a file of their own, `routes.test.yaml` beside `routes.yaml`: a document with `tests:` and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from proxy.config.document import Document, parse
from proxy.config.load import bytes_of
from proxy.config.locate import problems_of
from proxy.config.problems import ConfigError
from proxy.config.sections import CaseConfig
from proxy.fields import Environment, Many, Section

_ENDING = ".test.yaml"


class _CasesConfig(Section):
    """The whole file."""

    tests: Many[CaseConfig]
    """Proofs of the routing of the file beside it."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one file, and where each of them stands."""

    document: Document
    cases: tuple[CaseConfig, ...]

    def line_of(self, number: int) -> tuple[str, int]:
        """The file and the line (from 1) of a case."""
        return self.document.file, self.document.lines.get(("tests", number), 1)


def is_case_file(path: Path) -> bool:
    return path.name.endswith(_ENDING)


def beside(path: Path) -> Path:
    """`routes.yaml` → `routes.test.yaml`, and back."""
    if is_case_file(path):
        return path.with_name(path.name.removesuffix(_ENDING) + ".yaml")
    return path.with_name(path.stem + _ENDING)


def read_cases(path: Path) -> CaseFile:
    """Read a file of cases strictly. Raises ConfigError with every mistake."""
    document, problems = parse(bytes_of(path), str(path))
    try:
        decoded = _CasesConfig.model_validate(document.value, context=Environment({}))
    except ValidationError as error:
        found = problems_of(error, document, _CasesConfig.model_json_schema)
        raise ConfigError([*problems, *found]) from None
    if problems:
        raise ConfigError(problems)
    return CaseFile(document, decoded.tests)
