"""Published and own test vectors, as JSON in `data/`."""
