"""For every test: the helpers in this folder can be imported, and hypothesis draws the same examples each time."""

import os
import sys
from pathlib import Path

from hypothesis import settings

os.environ["COUNTERPOINT_RECORDS"] = "off"  # what tests compare is no experience

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
