"""The client side: contract requests, documents, and the deployment of the contracts."""
