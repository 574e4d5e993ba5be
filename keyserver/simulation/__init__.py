"""Whole clusters in one process, on a virtual clock and network, replayable from a seed.

- `loop`: an event loop whose time jumps to the next timer
- `network`: connections that delay, reorder, duplicate, lose and break
- `process`, `disk`, `clock`: ends at any effect, disks that fail, dates that are wrong
- `cluster`: nodes with real drivers and memory stores on them, which crash and restart
- `chain`, `mempool`, `contracts`, `rpc`: a model of a chain with its endpoints
- `world`, `whole_node`, `customers`, `orders`: whole nodes on it, and who asks them
- `liars`, `adversary`: what malicious nodes do
- `scenarios`: what is run, and what must hold
- `runner`, `shrink`: many seeds on all cores, and plans made smaller
"""
