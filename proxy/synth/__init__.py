"""L2: offline answers. A request in, an honest text or value out; no model, no network."""
