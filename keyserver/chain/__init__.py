"""Everything that talks to an Ethereum node.

`client` says what is needed of one. `rpc_client` provides it: over an `endpoint_pool` of
`http_endpoint` and `websocket_endpoint`, with `rpc_codec`, `rpc_errors` and `backoff`. `watcher`
follows the chain: `heads` decides what a new head means, `log_reader` reads logs in ranges; whom
it tells is in `ports`. `name_registry`, `node_set` (with `set_reading`) and `access` read the three
kinds of contracts that are not services: names, key servers, permissions. `intake`, `pending`,
`reader`, `sender` and what belongs to them serve the tasks.
"""
