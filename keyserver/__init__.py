"""A network of key servers that hold secp256k1 keys together."""
