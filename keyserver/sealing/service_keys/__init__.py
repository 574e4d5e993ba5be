"""Keys that services use to encrypt what belongs to their customers (sealing, C15)."""
