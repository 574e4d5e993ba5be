"""Junk for every place where bytes of others come in: `python -m tests.fuzz --help`.

Inputs are valid ones that were altered, seeded, so that a finding is repeated by its number. What a
target may raise is what its module declares; anything else, and growth without bound, is a finding.
"""
