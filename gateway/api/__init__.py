"""The control plane: FastAPI under /api/v1, metrics, health and the home bases' WebSocket. Thin handlers over `gateway.service`."""
