"""Delivery to home bases: sessions over any message channel, the WebSocket transport, and the subscriber with its store."""
