"""The operators' side: what the proxy does and did, and the few things one may tell it."""
