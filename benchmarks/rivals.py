"""Who is measured: how each proxy is installed, configured towards the mock, and started."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import BUILD, first_line, free_port
from proxy.wire import dialects

KEY = "sk-bench-0123456789"
MODEL = "bench-model"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run."""

    argv: tuple[str | Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rival:
    """One proxy under measurement; `direct` is none at all."""

    name: str
    about: str
    """What it is and how it is configured, for the report."""
    prepare: Callable[[], str | None]
    """Installs what is missing; returns the reason why it cannot take part, or None."""
    launch: Callable[[int, int, Path], Launch] | None
    """(port to listen on, port of the mock, folder for its files) → what to run."""
    version: Callable[[], str]
    path: str = "/v1/chat/completions"
    scale: float = 1.0
    """Share of the usual amount of unpaced load: less for the slow."""
    holds_thousands: bool = False
    """Whether it is also asked to hold 5,000 open streams."""


def _nothing() -> str | None:
    return None


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


# ---- nginx


def _nginx_program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _prepare_nginx() -> str | None:
    if _nginx_program() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for words in (["update"], ["install", "-y", "nginx-light"]):
            subprocess.run(["apt-get", "-q", *words], capture_output=True, check=False)
    return None if _nginx_program() else "nginx is not installed, and could not be installed with apt-get"


_NGINX = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    keepalive_requests 100000000;
    client_body_buffer_size 64k;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def _launch_nginx(port: int, upstream: int, folder: Path) -> Launch:
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, folder=folder, port=port, upstream=upstream)
    return Launch((str(_nginx_program()), "-p", folder, "-c", _write(folder, "nginx.conf", text)))


# ---- Failsoft

_FAILSOFT = """\
server: {{port: {port}, max_in_flight: 20000}}
storage: {{ledger: "sqlite:///{folder}/failsoft.db"}}
upstreams:
  mock:
    provider: {provider}
    url: "http://127.0.0.1:{upstream}{base}"
    keys: ["${{BENCH_KEY}}"]
    slots: {{limit: 20000}}
models:
  {model}: [mock/{model}]
plans:
  bench: {{models: ["*"], requests: 100000000/hour, tokens: 1000000000/hour, concurrency: 100000}}
tenants:
  bench: {{plan: bench, keys: ["sha256:{digest}"]}}
routes:
  - {{name: others, match: {{model: "other-*"}}, use: [mock/*]}}
  - {{name: default, use: [mock/*]}}
"""


def _prepare_translated() -> str | None:
    return None if "anthropic_messages" in dialects.discover() else "Failsoft does not speak this dialect yet"


def _launch_failsoft(provider: str, base: str) -> Callable[[int, int, Path], Launch]:
    def launch(port: int, upstream: int, folder: Path) -> Launch:
        text = _FAILSOFT.format(
            port=port,
            upstream=upstream,
            folder=folder,
            provider=provider,
            base=base,
            model=MODEL,
            digest=hashlib.sha256(KEY.encode()).hexdigest(),
        )
        routes = _write(folder, "routes.yaml", text)
        argv = (sys.executable, "-m", "proxy", "serve", routes, "--port", str(port))
        environment = {"BENCH_KEY": KEY, "FAILSOFT_ADMIN_KEY": KEY, "PYTHONPATH": str(BUILD.parent.parent)}
        return Launch(argv, environment | {"XDG_STATE_HOME": str(folder), "HOME": str(folder)})

    return launch


def _failsoft_version() -> str:
    commit = first_line(["git", "-C", BUILD.parent, "rev-parse", "--short", "HEAD"])
    return f"{first_line([sys.executable, '-m', 'proxy', 'version'])} at {commit}"


# ---- proxies from PyPI, each in an environment of its own


def _install(name: str, requirement: str) -> Callable[[], str | None]:
    def install() -> str | None:
        folder = BUILD / name
        if (folder / "bin" / name).exists():
            return None
        print(f"installing {requirement} into {folder.relative_to(BUILD.parent.parent)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        shutil.rmtree(folder)
        return f"pip install {requirement} failed: {done.stderr.strip().splitlines()[-1:]}"

    return install


def _installed_version(name: str) -> Callable[[], str]:
    code = f"import importlib.metadata as m; print('{name}', m.version('{name}'))"
    return lambda: first_line([BUILD / name / "bin" / "python", "-c", code])


def _launch_litellm(port: int, upstream: int, folder: Path) -> Launch:
    parameters = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": KEY}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
    }
    file = _write(folder, "litellm.yaml", json.dumps(config))  # JSON is YAML
    program = BUILD / "litellm" / "bin" / "litellm"
    argv = (program, "--config", file, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # its start would wait for a price list from the Internet
        "AIOHTTP_CONNECTOR_LIMIT": "20000",  # by default it holds 500 streams per upstream
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "20000",
        "LITELLM_LOG": "ERROR",
        "HOME": str(folder),
    }
    return Launch(argv, environment)


def _launch_vllm_router(port: int, upstream: int, _folder: Path) -> Launch:
    program = BUILD / "vllm-router" / "bin" / "vllm-router"
    worker = ("--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin")
    quiet = ("--log-level", "error", "--prometheus-port", str(free_port()))
    return Launch((program, "--host", "127.0.0.1", "--port", str(port), *worker, *quiet))


RIVALS = (
    Rival("direct", "no proxy: the load generator speaks to the mock", _nothing, None, lambda: "direct"),
    Rival(
        "nginx",
        "plain proxy, one worker, keep-alive to the upstream, no buffering, no access log",
        _prepare_nginx,
        _launch_nginx,
        lambda: first_line([str(_nginx_program()), "-v"]).removeprefix("nginx version: "),
        holds_thousands=True,
    ),
    Rival(
        "failsoft",
        "one worker; a tenant with key and plan, an alias, two routes, its log on",
        _nothing,
        _launch_failsoft("compatible", "/v1"),
        _failsoft_version,
        holds_thousands=True,
    ),
    Rival(
        "translated",
        "Failsoft, translating chat completions to an upstream that speaks Anthropic's messages and back",
        _prepare_translated,
        _launch_failsoft("anthropic", ""),
        _failsoft_version,
    ),
    Rival(
        "litellm",
        "LiteLLM's proxy, one worker, a master key, no database, log level ERROR, connection limits raised",
        _install("litellm", "litellm[proxy]"),
        _launch_litellm,
        _installed_version("litellm"),
        scale=0.05,
    ),
    Rival(
        "vllm-router",
        "vLLM's router (Rust), round robin over one worker",
        _install("vllm-router", "vllm-router"),
        _launch_vllm_router,
        _installed_version("vllm-router"),
    ),
)
