"""`python -m clover` is the command `clover`."""

import sys

from clover.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
