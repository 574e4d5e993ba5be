"""A process that looks like a node, or a client, from outside: it is ready, and ends at SIGTERM.

python fake_node.py run --config FILE
"""

import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"result": "0x"}')

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
    host, _, port = where.partition(":")
    HTTPServer((host, int(port)), Health).serve_forever()


if __name__ == "__main__":
    main()
