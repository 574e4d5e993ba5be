"""The operator's workflow with real processes (configuration, section 8)."""
