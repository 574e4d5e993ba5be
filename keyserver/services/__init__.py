"""The service contracts, one folder each: what they ask, and what this node answers.

Those for signatures share one, as they differ in their names only.

- `base`: the `ServiceContract` protocol, and what all handlers share
- `standing`: whether a contract still wants this node's answer
- `registry`: `SERVICES`, the only place that lists them
- `<service>/bindings`: logs and pending entries to tasks, outcomes to calls
- `<service>/handler`: what to do about a task
"""
