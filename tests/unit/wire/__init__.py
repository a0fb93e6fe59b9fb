"""Unit tests of `proxy/wire`."""
