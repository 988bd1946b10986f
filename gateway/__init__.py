"""The gateway: every socket, file, task and clock of the ground-segment gateway; journal, API and console."""

__version__ = "0.1.0"
