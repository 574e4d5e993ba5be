"""Sans-IO protocols between nodes (architecture, section 4)."""
