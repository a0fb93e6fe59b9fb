"""L7: the command `failsoft`."""
