"""`python -m chatanyone`."""

import sys

from chatanyone.cli import main

sys.exit(main())
