"""L3: `routes.yaml` to a compiled snapshot, and every mistake of the file in one list."""
