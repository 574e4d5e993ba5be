"""Whole clusters in one process, on a virtual clock and network, replayable from a seed.

- `loop`: an event loop whose time jumps to the next timer
- `network`: connections that delay, reorder, duplicate, lose and break
- `cluster`: nodes with real drivers and memory stores on them, which crash and restart
"""
