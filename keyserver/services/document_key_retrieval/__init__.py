"""Shadow retrieval of document keys (contract: `bindings`; what to do: `handler`)."""
