"""Drives `secret_store_client`, the package of Ocean and of Nevermined.

Runs under an interpreter of its own: run_secret_store_client.py SETTINGS. Every line of the input
is `[method, argument, …]`, every line of the output what came of it.
"""

import json
import sys
from importlib import import_module

client_module = import_module("secret_store_client.client")
settings = json.loads(sys.argv[1])
client = client_module.Client(
    settings["http"], settings["json_rpc"], settings["address"], settings["password"]
)

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"value": getattr(client, name)(*arguments)}
    except client_module.RPCError as error:
        answer = {"raised": {"text": str(error)}}
    print(json.dumps(answer), flush=True)
