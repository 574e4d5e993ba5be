"""A process that looks like a node from outside: it is ready, and ends at SIGTERM.

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

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def main() -> None:
    config = tomllib.loads(Path(sys.argv[3]).read_text())
    if config["keyserver"]["confirmations"] == 99:
        sys.exit("this configuration is not to my liking")
    host, _, port = config["keyserver"]["operator_listen"].partition(":")
    HTTPServer((host, int(port)), Health).serve_forever()


if __name__ == "__main__":
    main()
