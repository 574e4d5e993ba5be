"""HTTP: the listeners of a node, and what is said on them.

Clients:

- `original_paths`, `original`: the original's paths, parsed (pure) and answered
- `credentials`, `policy`, `errors`: who asks, what is switched off, how a refusal looks
- `guard`, `cors`, `bodies`, `rate_limit`: what every request passes first
- `json_rpc…`: the `secretstore` module on its own listener
- `public_server`: the server under both
- `ports`: what they ask of the rest of the process

Operators:

- `facts`: what operators are told, as values
- `rendering`: values as JSON
- `operator`: the routes of the operator listener

`listening`: sockets, and the server that runs an application on one.
"""
