"""The control plane: /api/v1, metrics, health and the home bases' WebSocket. Thin handlers over `gateway.service`."""
