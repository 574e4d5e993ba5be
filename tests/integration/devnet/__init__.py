"""The local chains, driven by the clients the project uses."""
