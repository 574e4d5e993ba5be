"""Drives `secretstore`, Energy Web's package, as `run_secret_store_client` does the other.

Methods are `rpc.NAME` (of the JSON-RPC module) and `session.NAME` (of the key servers).
"""

import json
import sys
from importlib import import_module

web3 = import_module("web3")
if not hasattr(web3.Web3, "toChecksumAddress"):
    # The package calls this function by the name it had in earlier versions of its library.
    web3.Web3.toChecksumAddress = staticmethod(web3.Web3.to_checksum_address)
package = import_module("secretstore")
settings = json.loads(sys.argv[1])
rpc = package.SecretStore(web3.Web3(web3.HTTPProvider(settings["json_rpc"])), settings["http"])
targets = {"rpc": rpc, "session": rpc.session}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    target, _, method = name.partition(".")
    try:
        value = getattr(targets[target], method)(*arguments)
        answer = {
            "value": dict(value)
            if isinstance(value, dict | web3.datastructures.AttributeDict)
            else value
        }
    except package.SecretStoreSessionError as error:
        response = error.response
        told = {"text": response.reason, "status": response.status_code, "body": response.text}
        answer = {"raised": told}
    print(json.dumps(answer), flush=True)
