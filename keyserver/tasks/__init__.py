"""Durable work: what contracts asked, what this node owes them, and what it has sent.

- `model`: tasks, their states and legal transitions, when a sighting opens a new one (pure)
- `outbox`: answers on their way into the chain, their states and legal transitions (pure)
- `responsibility`: which node starts the session for a key id (pure)
- `ports`: what this package needs: the store, the contracts, the handlers
- `queue`: claims tasks that are due, runs their handlers, records what came of it
- `answers`: what the engine tells, turned into work for the queue
"""
