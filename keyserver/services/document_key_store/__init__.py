"""Storing of document keys (contracts: `bindings`; what to do: `handler`)."""
