"""L2: pure state machines; time and chance are arguments."""
