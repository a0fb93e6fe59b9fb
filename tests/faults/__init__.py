"""The catalogue of faults (docs/reliability.md); pytest explains the assertions of these modules as those of tests."""

import pytest

pytest.register_assert_rewrite("tests.faults.invariants", "tests.faults.scenario", "tests.faults.stage")
