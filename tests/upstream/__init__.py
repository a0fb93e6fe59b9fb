"""The fake upstream that tests and benchmarks share: real HTTP, and every fault a script asks for."""

from tests.upstream.request import Request
from tests.upstream.script import PATIENCE, Gate, Script, ToolCall, Usage
from tests.upstream.seen import Seen
from tests.upstream.server import FakeUpstream

__all__ = ["PATIENCE", "FakeUpstream", "Gate", "Request", "Script", "Seen", "ToolCall", "Usage"]
