"""One suite for every server that `ModelServer` drives."""
