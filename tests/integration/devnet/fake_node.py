"""A process that looks like a node, or a client, from outside: it is ready, and ends at SIGTERM.

Without a key in its configuration it is sealed first, until it has got enough of its shares.

python fake_node.py run --config FILE
"""

import json
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Seal:
    """What a sealed node knows, by the file of all shares."""

    def __init__(self, directory: Path) -> None:
        self._number = int(directory.name.removeprefix("node"))
        self._file = directory.parent / "shares.json"
        self._taken: set[str] = set()

    @property
    def standing(self) -> dict[str, object]:
        required = json.loads(self._file.read_text())["required"]
        progress = len(self._taken)
        return {"sealed": progress < required, "progress": progress, "required": required}

    def take(self, share: str) -> bool:
        own = json.loads(self._file.read_text())["nodes"][self._number - 1]
        self._taken |= {share} & set(own)
        return share in own


class Health(BaseHTTPRequestHandler):
    seal: Seal | None = None

    def do_GET(self) -> None:
        sealed = self.seal is not None and self.seal.standing["sealed"]
        if self.seal is not None and self.path == "/v1/seal/status":
            self._answer(200, self.seal.standing)
        elif self.path != "/health/ready":
            self._answer(404, {})
        elif sealed:
            self._answer(503, {"ready": False, "reasons": [{"code": "sealed", "text": "is shut"}]})
        else:
            self._answer(200, {"ready": True, "reasons": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.seal is None:
            self._answer(200, {"result": "0x"})
        elif self.seal.take(json.loads(body)["share"]):
            self._answer(200, self.seal.standing)
        else:
            error = {"code": "SHARE_WRONG_SET", "message": "none of mine"}
            self._answer(400, {"error": error})

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def main() -> None:
    config = tomllib.loads(Path(sys.argv[3]).read_text())
    if config["secretstore"].get("disable"):
        where = f"127.0.0.1:{config['rpc']['port']}"
    elif config["keyserver"]["confirmations"] == 99:
        sys.exit("this configuration is not to my liking")
    else:
        where = config["keyserver"]["operator_listen"]
    if not config["secretstore"].keys() & {"disable", "self_secret"}:
        Health.seal = Seal(Path(sys.argv[3]).parent)
    host, _, port = where.partition(":")
    HTTPServer((host, int(port)), Health).serve_forever()


if __name__ == "__main__":
    main()
