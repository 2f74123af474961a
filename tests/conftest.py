"""For every test: the helpers in this folder can be imported, and hypothesis draws the same examples each time."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["COUNTERPOINT_RECORDS"] = "off"  # what tests compare is no experience

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What imports and collection made stays to the end: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
