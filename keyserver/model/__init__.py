"""What the key server talks about: frozen values and their one binary encoding.

- `identifiers`: byte strings of fixed length, each its own type
- `codec`: the canonical encoding of engine design, section 2, derived from annotated dataclasses
- `keys`: records, certificates, document keys
- `requests`: what a client may ask, and how it proves who it is
- `node_set`: the nodes, current, new and migrating
- `set_change`, `set_change_rules`: orders to change the node set, and when they are valid
- `quorums`: the numbers f, q_n and g of engine design, section 1
"""
