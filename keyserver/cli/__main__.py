"""`python -m keyserver.cli`: the console script without its being installed."""

import sys

from keyserver.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
