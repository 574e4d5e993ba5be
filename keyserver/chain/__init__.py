"""Everything that talks to an Ethereum node.

`client` says what is needed of one, `web3_client` provides it. `heads` follows the chain across
reorganisations, `log_reader` reads logs in ranges, `watcher` joins the two and hands confirmed
logs on. `name_registry`, `node_set` and `access` read the three kinds of contracts that are not
services: names, key servers, permissions. `sender`, `fees` and `pending` serve the tasks.
"""
