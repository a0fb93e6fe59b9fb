"""`python -m tests.conformance`: runs every row and writes `docs/conformance.md`."""

from __future__ import annotations

import asyncio
import logging

from tests.conformance.features import FEATURES
from tests.conformance.page import PAGE, render, run_row


async def _write() -> None:
    PAGE.write_text(render({feature.name: await run_row(feature) for feature in FEATURES}))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(_write())
