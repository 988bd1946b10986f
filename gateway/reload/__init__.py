"""Live change: another configuration is applied while the gateway runs, or nothing is changed and it says why."""
