"""Delivery to home bases: sessions, the WebSocket transport, and the subscriber with its store."""
