"""Mathematics and primitives: pure computation on scalars, points and bytes.

Bottom up: `curve` (secp256k1), `hashing`, `randomness`; `polynomial` and `vss` (sharing); `proofs`
(linear proofs) and `credentials` (proofs of client signatures); `dealkey`, `transcripts`, `dkg`,
`complaints` (joint key generation); `elgamal` (document keys); `one_time`, `schnorr` (FROST) and
`masks`, `presigning`, `presigning_complaints`, `presignatures`, `ecdsa` (threshold signatures);
`ecies`, `documents`, `boxes` (encryption). Nothing here knows a node, a record or a clock. Whatever
bytes come in, only a `CryptoError` comes out.
"""
