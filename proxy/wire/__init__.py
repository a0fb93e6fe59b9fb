"""L1: bytes to events and back. The only home of protocol knowledge; no I/O, no clock, no chance."""
