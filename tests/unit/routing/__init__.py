"""Unit tests of `proxy/routing`."""
