"""L4: the only orchestration. Knows ports, not adapters."""
