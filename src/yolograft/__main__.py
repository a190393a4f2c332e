"""`python -m yolograft` is the command line."""

import sys

from yolograft.cli import main

sys.exit(main())
