"""`python -m gradgen` is the command line."""

import sys

from gradgen.cli import main

sys.exit(main())
