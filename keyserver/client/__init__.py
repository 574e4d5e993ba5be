"""The client side: requests to the key servers, documents, and the deployment of the contracts.

- `wallet`: the user's account; `results`, `interface`: what the key servers do for it, whichever
  way they are asked; `errors`: what can go wrong and what to do about it.
- Through contracts: `ethereum`, the user's Ethereum node; `contracts`, what stands where;
  `requests`, what can be asked (`KeyServers`); `following` waits for the outcome, `answers` finds
  it in the logs, by plain computation; `reverts` says why a contract refused.
- Over HTTP: `http`, all requests (`HttpKeyServers`); `attempts`, which node is asked when;
  `conversation`, one request to one node; `doors`, the two interfaces there are, `v1_door` and
  `original_door`, plain computation with `node_answers`, `node_refusals` and `shadow_fields`;
  `node_http`, the wire.
- `service_keys`: the rotating keys that one node hands out to services.
- `signatures`: signatures of server keys, checked.
- `set_change_plan`, `set_change`: an administrator's orders to change the node set.
- `permissions`: reserving key ids and letting others use them.
- `documents`: encrypted files; `sharing`: a file from one account to another.
- `deployment_plan`, `deployment`: deploying and wiring the contracts.

    async with connect(url) as ethereum:
        servers = KeyServers(ethereum, Contracts.load(path), Wallet(secret))
        answer = await servers.generate_server_key(key_id, threshold=2)

    async with connect_nodes(["https://one.example:8082"], Wallet(secret)) as servers:
        answer = await servers.generate_server_key(key_id, threshold=2)
"""
