"""Delivery over MQTT: the broker, the shared topics, the home bases' subscriptions (docs/mqtt.md)."""
