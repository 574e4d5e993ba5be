"""Chaos on the real thing: processes, TCP and anvil, with a seeded schedule of faults.

`python -m tests.chaos` runs it; `test_chaos` is a short run. `schedule` draws the faults, `faults`
carries them out on `links` (between nodes), `endpoints` (between nodes and the chain), `chain`
(anvil) and `nodes` (processes). Meanwhile `stories` are clients at work; what they may expect is in
`expectations`. When all is over, `audit` looks at the chain, the nodes and their logs, and `report`
says what was found.
"""
