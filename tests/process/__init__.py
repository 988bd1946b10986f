"""Process tests: the real programs on loopback sockets, killed and stopped as the world does it."""
