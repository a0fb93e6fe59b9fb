"""The shape of the code: layers, cycles, purity, vendors, style. Each rule is a law of `CONTRIBUTING.md`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "proxy"

LAYERS: dict[str, int] = {
    "core": 0,
    "wire": 1,
    "fields": 1,
    "providers": 2,
    "routing": 2,
    "policy": 2,
    "guard": 2,
    "synth": 2,
    "accounting": 2,
    "config": 3,
    "engine": 4,
    "adapters": 4,
    "web": 5,
    "bootstrap": 6,
    "cli": 7,
    "__main__": 8,
}
BLIND = {("web", "adapters")}
"""Pairs that may not know each other although the layers would let them."""

PURE = {"core", "wire", "fields", "providers", "routing", "policy", "guard", "synth", "accounting"}
IMPURE_MODULES = {
    "asyncio", "socket", "ssl", "http", "urllib", "httpx", "httpx2", "aiohttp", "requests", "time", "random", "secrets",
    "os", "threading", "subprocess", "tempfile", "sqlite3",
}  # fmt: skip
PURE_MODULES = {"urllib.parse", "http"}  # `http` alone holds the names of status codes
CLOCK = "core/clock.py"
"""The one pure-layer file that may read the machine's clocks: it is what the others are given."""

BROAD_HANDLERS = {"web/inbound.py", "engine/attempt.py", "engine/tasks.py", "cli/main.py"}
LOCAL_IMPORTS = {"bootstrap.py"}
VENDORS = ("openai", "anthropic", "claude", "gemini", "deepseek", "lmstudio", "lm studio", "groq", "ollama", "xai")
OPENAI_SHAPED = {"openai"}
"""OpenAI's protocol is the project's own mother tongue, so its name stands in prose everywhere; code may not branch on
it."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def package_of(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node, node.module or ""
            if node.module == "proxy":
                yield from ((node, f"proxy.{alias.name}") for alias in node.names)


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """A module imports its own package and lower layers, never up and never sideways."""
    here = package_of(module)
    if here == "__init__":
        return
    for _, name in imported(MODULES[module]):
        parts = name.split(".")
        if parts[0] != "proxy" or len(parts) == 1 or parts[1] in (here, "__version__"):
            continue
        assert parts[1] in LAYERS, f"{module} imports {name}, which has no layer"
        assert LAYERS[parts[1]] < LAYERS[here], f"{module} imports {name}"
        assert (here, parts[1]) not in BLIND, f"{module} imports {name}"


def test_no_cycles() -> None:
    """No module can reach itself by imports."""
    names = {
        "proxy." + module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module for module in MODULES
    }
    graph = {
        name: {
            found
            for node, target in imported(MODULES[module])
            for found in [target, *(f"{target}.{alias.name}" for alias in node.names)]
            if found in names and found != name
        }
        for name, module in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("module", [m for m in MODULES if package_of(m) in PURE and m != CLOCK])
def test_pure_layers_do_no_io(module: str) -> None:
    """Time and chance are arguments in the pure layers, and nothing there opens anything."""
    for _, name in imported(MODULES[module]):
        if name not in PURE_MODULES:
            assert name.partition(".")[0] not in IMPURE_MODULES, f"{module} imports {name}"
    calls = {n.func.id for n in ast.walk(MODULES[module]) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not calls & {"open", "input", "print", "eval", "exec"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_stand_at_the_top(module: str) -> None:
    """Function-local imports are for the command line and for optional drivers, in the composition root."""
    if package_of(module) == "cli" or module in LOCAL_IMPORTS:
        return
    top = set(MODULES[module].body)
    for node, name in imported(MODULES[module]):
        guarded = any(isinstance(item, ast.If) and node in item.body for item in top)
        assert node in top or guarded, f"{module} imports {name} inside a function"


@pytest.mark.parametrize("module", MODULES)
def test_broad_handlers_stand_at_the_borders(module: str) -> None:
    """`except Exception` belongs to the four borders."""
    if module in BROAD_HANDLERS:
        return
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("everything", "Exception", "BaseException"), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_vendor_names_stay_home(module: str) -> None:
    """A vendor is named in its provider file and in the dialects; elsewhere the code must not know it."""
    if module.startswith(("providers/", "wire/dialects/")):
        return
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Name | ast.Attribute):
            name = (node.id if isinstance(node, ast.Name) else node.attr).lower()
            assert not any(vendor in name for vendor in VENDORS), f"{module}:{node.lineno} {name}"
        if isinstance(node, ast.Compare):
            literals = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            assert not any(text in VENDORS for text in literals), f"{module}:{node.lineno}"


def test_importing_does_nothing() -> None:
    """Importing every module opens no socket, starts no thread and writes nothing."""
    program = """
import sys, importlib
allowed = ("r", "rb", None)
def watch(event, args):
    if event.startswith(("socket.", "subprocess.")) or event in ("_thread.start_new_thread", "os.mkdir", "os.remove"):
        raise SystemExit(f"{event} {args}")
    if event == "open" and args[1] not in allowed and "__pycache__" not in str(args[0]):
        raise SystemExit(f"{event} {args}")
import asyncio, ssl, logging  # the standard library's own affairs come first
sys.dont_write_bytecode = True
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
    names = ["proxy." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in MODULES]
    names = [name.removesuffix(".__init__") for name in names if name != "proxy.__main__"]
    result = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, cwd=ROOT)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=["lint", "format", "types"]
)
def test_style_and_types(command: list[str]) -> None:
    """What `scripts/check` says."""
    result = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
