"""L5: ASGI. Knows the engine, never adapters."""
