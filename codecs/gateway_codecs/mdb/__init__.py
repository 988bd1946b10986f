"""Mission databases: the model, its readers and writer, and the decoding of packets into parameter columns."""
