"""Node-to-node transport: authenticated, encrypted connections between the nodes of the set.

Engine design, section 5. The lower half computes only, the upper half moves bytes:

- `errors`: what can go wrong with a connection
- `node_key`: the one thing the transport needs of the node key
- `cipher`: sealing, key derivation and key rotation of BOLT #8
- `handshake`: the three acts by which two nodes authenticate each other
- `framing`: bytes to frames to messages, and back
- `link`: the connection's own messages (HELLO, PING, PONG) and the table of their types
- `stream`: handshake and framing over a socket
- `connection`: one greeted peer: reader, bounded writer, keep-alive
- `admission`: how many strangers may shake hands at a time
- `mesh`: dials, accepts, settles duplicates, reconnects; the engine's `Transport`
"""
