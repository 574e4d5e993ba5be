"""Secrets at rest: who opens the store, and the boxes that secret columns are sealed in.

- `record`: the seal record: everything needed to open the store but a key (sealing, C4.4)
- `keyring`: the term keys that boxes are made with (sealing, C3 and C4.5)
- `key_sources`: what opens a slot now: a key file, a key in a variable, a passphrase (sealing, C11)
- `opening`: opens the keyring of a store, or makes the first one
- `shares`: the slot that operators' shares open, and what a submitted text is (sealing, C5 and C6)
- `unsealing`: shares on their way to opening the seal, a pure machine
- `vault`: the seal of a running process, and its secrets while it is open
- `handing_out`: makes a set of shares, each encrypted to its holder
- `making`: gives a store its first set of shares (sealing, C7)
- `rekeying`, `rekeys`: replace a set of shares; what is pure, and what runs (sealing, C8)
- `upkeep`: follows the stored seal, rotates, moves records to new terms, retires old (sealing, C9)
- `secret_boxes`: seals and opens one column of one row
- `secret_key`: 32 secret bytes that do not print and are wiped when released
- `ports`: what is asked of the store
- `errors`: what can go wrong, each its own class
"""
