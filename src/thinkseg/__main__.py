"""`python -m thinkseg` is `thinkseg`."""

import sys

from thinkseg.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
