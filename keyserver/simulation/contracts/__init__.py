"""The contracts as plain values and rules, without an EVM.

Calldata goes in as a node or client encodes it; return data, events and reverts come out as the
compiled contracts give them, which a conformance test compares call by call.

- `contract`: what a contract is to the chain, and how a call finds its function
- `node_set`: the key server set and its migrations
- `permissions`: who may use which key
- `service`: all four services in one contract, each in a module of its own
- `signing`: the services for signatures, a contract each
"""
