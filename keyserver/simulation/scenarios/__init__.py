"""What is simulated: named scenarios, the plans of what goes wrong in them, and what must hold.

- `plan`: a list of faults and requests with their times, which is printed, replayed and shrunk
- `violation`: the error of every invariant that does not hold
- `registry`: all scenarios by name
"""
