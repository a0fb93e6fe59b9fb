"""What loads is valid by the schema that editors get."""

from pathlib import Path

import jsonschema
import pytest

from proxy.config.document import parse
from proxy.config.editor import editor_schema
from proxy.config.load import loads
from tests.unit.config import golden

CHECK = jsonschema.Draft202012Validator(editor_schema())
LOADED = [name for name in golden.names() if golden.read(name)[1].startswith("{")]


@pytest.mark.parametrize("name", LOADED)
def test_every_golden_file_that_loads_is_valid(name: str) -> None:
    CHECK.validate(parse(golden.read(name)[0].encode(), "f")[0].value)


def test_the_shipped_file_is_valid() -> None:
    CHECK.validate(parse((Path(__file__).parents[3] / "routes.yaml").read_bytes(), "f")[0].value)


@pytest.mark.parametrize(
    "route",
    [
        "{use: [home/x], match: {task: code, time: {days: sat}, header: {x: y}, not: {plan: [a]}}}",
        "{use: [{to: home/x, weight: 20%}, {to: home/y, weight: 80%}], order: weighted, hedge: true}",
        "{use: [nice], hedge: false}",
        "{use: [nice], hedge: {after: 1s}, match: {model: [a, b], tokens: '> 5'}}",
    ],
)
def test_short_forms(route: str) -> None:
    text = "upstreams: {home: {provider: lmstudio}}\nmodels: {nice: [home/x], odd: {}}\nplans: {a: {}}\n"
    text += f"routes: [{{name: r, {route[1:]}]\n"
    loads(text.encode(), "f", {})
    CHECK.validate(parse(text.encode(), "f")[0].value)


@pytest.mark.parametrize(
    "text", ["rutes: []", "routes: [{name: r, use: [1]}]", "routes: [{name: r, use: [a/b], match: {task: sing}}]"]
)
def test_slips_are_seen(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        CHECK.validate(parse(text.encode(), "f")[0].value)
