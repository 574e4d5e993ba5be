"""Mathematics and primitives: pure computation on scalars, points and bytes.

Bottom up: `curve` (secp256k1), `hashing`, `randomness`; `polynomial` and `vss` (sharing),
`proofs` (linear proofs), `dealkey` and `dkg` (generation), `elgamal` (document keys);
`ecies`, `documents` and `boxes` (encryption). Nothing here knows a node, a record or a clock.
"""
