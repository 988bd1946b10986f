"""Playback requests as objects, their return to the home base that asked, and re-sending by the operator's order."""
