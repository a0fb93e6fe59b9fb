"""L0: the shared words. Standard library only, nothing here awaits."""
