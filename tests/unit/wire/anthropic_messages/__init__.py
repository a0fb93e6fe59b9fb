"""The Messages dialect, module by module."""
