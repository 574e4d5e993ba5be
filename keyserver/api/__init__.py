"""HTTP: the listeners of a node, and what is said on them.

Clients:

- `original_paths`, `original_headers`, `original`: the original's paths, pure, and their answers
- `credentials`: the signature in a path
- `v1`, `v1_routes`, `v1_models`, `v1_values`, `v1_json`: the modern door, its operations and bodies
- `v1_admission`, `v1_credentials`, `v1_nonces`, `v1_errors`: who may pass it, how a refusal looks
- `v1_description`, `v1_page`, `v1_example`: what it says of itself
- `set_change`, `v1_set_change`: an administrator's orders to change the node set
- `policy`, `errors`, `serving`: for both doors: what is off, what can go wrong, time, log
- `guard`, `cors`, `bodies`, `rate_limit`: what every request passes first
- `json_rpc…`: the `secretstore` module on its own listener
- `ports`: what they ask of the rest of the process

Operators:

- `facts`: what operators are told, as values
- `rendering`: values as JSON
- `operator`: the routes of the operator listener

`public_server`: the server under all listeners; `accepting`: room for connections;
`listening`: sockets.
"""
