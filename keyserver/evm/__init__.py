"""Ethereum as data, no node needed: contract calls and logs, transactions, the built contracts."""
