"""The client side: contract requests, documents, and the deployment of the contracts.

- `ethereum`: the user's Ethereum node; `wallet`: the user's account; `contracts`: what stands
  where.
- `requests`: the four requests to the key servers (`KeyServers`); `answers` finds their outcome in
  the logs, by plain computation; `errors` and `reverts` say what went wrong and what to do.
- `permissions`: reserving key ids and letting others use them.
- `documents`: encrypted files; `sharing`: a file from one account to another.
- `deployment_plan`, `deployment`: deploying and wiring the contracts.

    async with connect(url) as ethereum:
        servers = KeyServers(ethereum, Contracts.load(path), Wallet(secret))
        answer = await servers.generate_server_key(key_id, threshold=2)
"""
