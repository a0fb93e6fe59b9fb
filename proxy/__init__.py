"""Failsoft: an OpenAI-compatible reverse proxy and router for language models that always answers."""

__version__ = "0.1.0"
