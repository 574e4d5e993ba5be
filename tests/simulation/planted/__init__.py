"""Bugs planted into the product, one check or rule removed each: the simulator has to find them.

`python -m tests.simulation.planted [--seeds N] [NAME ...]` looks for each of them.
"""
