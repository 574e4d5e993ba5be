"""Signatures that contracts ask for, by networks of processes on both chains."""
