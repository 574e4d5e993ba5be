"""A network on one machine: a local chain, the deployed contracts, n node processes, the demo.

The chain is one of two, both behind `local_chain.LocalChain`:

- `embedded_chain`: eth-tester's py-evm chain behind a JSON-RPC server of ours; needs no other
  program. `embedded_evm` executes, `embedded_mempool` queues, `embedded_node` is the node they
  make; `embedded_json`, `embedded_rpc` and `embedded_control` speak JSON-RPC, `embedded_server`
  HTTP and WebSocket.
- `anvil`: Foundry's node, where its binary is found.

`network` starts and stops everything below one directory: `chain_start` the chain with money and
contracts on it, `node_process` the nodes, `json_rpc_process` what old client programs need beside
them; `settings` is what a network is to be like, `devnet_file` tells users where it is,
`network_state` later commands; `processes` and `ports` find, check and stop what runs. `demo` is
the story.
"""
