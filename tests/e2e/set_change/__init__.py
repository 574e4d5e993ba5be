"""Changes of the node set by edits of its contract, over processes and under load."""
