"""Lets test modules import the helpers that lie in this folder (made-up data), whatever the import mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
