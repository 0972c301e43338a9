"""`python -m llmc.testing.ollama`."""

import sys

from llmc.testing.ollama._cli import main

sys.exit(main())
