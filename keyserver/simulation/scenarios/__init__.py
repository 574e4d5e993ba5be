"""What is simulated: named scenarios, the plans of what goes wrong in them, and what must hold.

- `registry`: all scenarios by name; `planning`, `worlds`: how their plans come from seeds
- `plan`: a list of faults and requests with their times, which is printed, replayed and shrunk
- `playing`: plays a plan on a cluster; `stage`: the cluster with its people and its auditor
- `people`, `story`: clients, what they may, and the life of a key as they drive it
- `lies`, `intruders`: what liars say and do
- `auditor`, `dealing_audit`, `invariants`: what must hold, at every message and in the end
- `violation`: the error of every invariant that does not hold
"""
