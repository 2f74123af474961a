"""Real models and data under short names: fetched by exact version, checked, converted once, kept in a cache.

Knows where things come from and how they are kept. What becomes of them is told by ``bundled.convert``.
"""

from counterpoint.bundled.cache import Listed, get, list_bundled, path
from counterpoint.bundled.registry import BundledEntry, Source, find

__all__ = ["BundledEntry", "Listed", "Source", "find", "get", "list_bundled", "path"]
