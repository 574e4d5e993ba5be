"""The command line: `main` is the tree of commands, every other module holds some of them."""
