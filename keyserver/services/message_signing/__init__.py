"""Signatures of server keys, ECDSA and Schnorr (contract: `bindings`; what to do: `handler`)."""
