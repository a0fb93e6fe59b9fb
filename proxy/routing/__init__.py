"""Which targets a request goes to, and why: rules from the file, no network, no clock of its own."""
