"""Secrets at rest: who opens the store, and the boxes that secret columns are sealed in.

- `record`: the seal record: everything needed to open the store but a key (sealing, C4.4)
- `keyring`: the term keys that boxes are made with (sealing, C3 and C4.5)
- `key_sources`: what opens a slot now: a key file, a key in a variable, a passphrase (sealing, C11)
- `opening`: opens the keyring of a store, or makes the first one
- `secret_boxes`: seals and opens one column of one row
- `secret_key`: 32 secret bytes that do not print and are wiped when released
- `ports`: what is asked of the store
- `errors`: what can go wrong, each its own class
"""
