"""Measurements of Failsoft; run by `scripts/bench`, never by the tests."""
