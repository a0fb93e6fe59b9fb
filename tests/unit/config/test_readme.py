"""The file that the README shows is one that works."""

import re
from pathlib import Path

from proxy.config.cases import run
from proxy.config.check import check
from proxy.config.load import loads
from proxy.wire.dialects import discover

README = Path(__file__).parents[3] / "README.md"


def test_the_language_in_thirty_lines() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    snapshot = loads(shown.encode(), "README.md", {"OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"})

    assert [outcome.wrong for outcome in run(snapshot, discover())] == [(), ()]
    assert [str(finding) for finding in check(snapshot) if finding.level != "hint"] == []
    assert 28 <= shown.count("\n") <= 32
