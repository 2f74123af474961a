"""Judging by several votes: two sets of answers against each other, one answer against its instruction."""
