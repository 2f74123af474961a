"""Search over a corpus on disk: an index of shards, rankings in parts, figures."""
