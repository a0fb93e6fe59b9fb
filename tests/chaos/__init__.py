"""A day of chaos for the whole product: `scripts/chaos`."""
