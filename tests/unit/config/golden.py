"""Golden configuration files: an input, a line `---8<---`, and what it means or why it is refused.

`python -m tests.unit.config.golden` writes the second half anew; a person reads the difference.
"""

import json
from pathlib import Path
from typing import Any

from proxy.config.compile import Snapshot
from proxy.config.load import loads
from proxy.config.problems import ConfigError

FOLDER = Path(__file__).parents[2] / "golden" / "config"
CUT = "---8<---\n"
FILE = "routes.yaml"

CANARY = "c4n4ry"
ENVIRON = {
    "BASIC": "basic me:c4n4ry",
    "CONTROL": "c4n4ry\nx-evil: 1",
    "EMPTY": "",
    "HOST": "127.0.0.2",
    "KEY": "sk-c4n4ry-1",
    "KEY_2": "sk-c4n4ry-2",
    "NESTED": "${KEY}",
    "PORT": "9000",
    "REDIS": "redis://:c4n4ry@redis.internal:6379/0",
    "WORD": "words",
}


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> tuple[str, str]:
    """The two halves of a golden file."""
    given, _, expected = (FOLDER / f"{name}.yaml").read_text().partition(CUT)
    return given, expected


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot in JSON's terms: what is written in the file, in base units, and what was made of it."""
    return {
        "config": snapshot.config.model_dump(mode="json", exclude_unset=True, by_alias=True),
        "upstreams": {
            upstream.name: upstream.disabled
            or {
                "url": upstream.url,
                "dialects": list(upstream.paths),
                "keys": len(upstream.keys),
                "local": upstream.local,
            }
            for upstream in snapshot.upstreams.values()
        },
        "models": {name: [str(target) for target in targets] for name, targets in snapshot.models.items()},
        "routes": {
            route.name: [
                {"to": str(target), "weight": target.weight, "params": dict(target.params)} for target in route.targets
            ]
            for route in snapshot.routes
        },
        "tenants": {name: tenant.plan for name, tenant in snapshot.tenants.items()},
        "anonymous": snapshot.anonymous.name if snapshot.anonymous else None,
        "warnings": [str(warning) for warning in snapshot.warnings],
    }


def outcome(given: str) -> str:
    """What comes of an input: a JSON object, or the list of its mistakes."""
    try:
        snapshot = loads(given.encode(), FILE, ENVIRON)
    except ConfigError as error:
        return f"{error}\n"
    return _json(describe(snapshot)) + "\n"


def _json(value: Any, margin: str = "") -> str:
    """JSON with a line for each entry of the outer objects and short things on one line."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(margin) + len(short) <= 100:
        return short
    inner = margin + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(key)}: {_json(below, inner)}" for key, below in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    return "[\n" + ",\n".join(inner + _json(below, inner) for below in value) + f"\n{margin}]"


if __name__ == "__main__":
    for case in names():
        text, _ = read(case)
        (FOLDER / f"{case}.yaml").write_text(text + CUT + outcome(text))
