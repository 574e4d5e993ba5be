"""Retrieval of server keys (contracts: `bindings`; what to do: `handler`)."""
