"""Laws that hold for every provider, whatever its file says."""
