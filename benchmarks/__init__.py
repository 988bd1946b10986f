"""Measurements on demand (`make bench`): never a timed assertion, always a ratio against something in the same run."""
