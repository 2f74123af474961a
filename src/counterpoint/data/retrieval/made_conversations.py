"""Conversations about encyclopedia articles, written by rule, so that what stands for what is certain.

A conversation is about one article, at some length, then turns to another of its topic; the last turn speaks of the second as "it", and names
a word of its lead. Its rewrite names the article. Two more rewrites are noisy: words are missing, and others were put in. The documents are the leads.
Queries about whole topics are in the test alone, with ids that begin with ``unseen-``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from counterpoint.data.retrieval.conversations import Turns
from counterpoint.data.retrieval.load import Retrieval, build
from counterpoint.data.retrieval.rows import Judged

UNSEEN = "unseen-"
HELD_OUT = 3
"""Topics that are tested alone."""
SHARES = (0.6, 0.15)
"""Of the other queries: to train on, to validate on."""
ASKS = (
    "how is it connected with {word}?",
    "what does it have to do with {word}?",
    "and {word}, where does that come in?",
    "tell me about its {word}",
)
STANDS = (
    "how is {title} connected with {word}?",
    "what does {title} have to do with {word}?",
    "where does {word} come in with {title}?",
    "{title} and its {word}",
)
OPENS, TURNS = (
    ("what is {title}?", "tell me about {title}", "who or what is {title}?"),
    ("and {title}?", "now {title}, please", "let us go on to {title}"),
)
SHOWN = 12
"""Words of the first article's lead that the system shows."""
MISSING, ADDED = 0.4, 3


def conversations(rows: Sequence[Mapping[str, str]], *, words: int, limit: int | None = None) -> Retrieval:
    """Retrieval data with a conversation a lead.

    Args:
        rows: articles with ``title``, ``description``, ``text`` and ``topic``. words: of each lead that are shown.
        limit: as many training queries at most.
    """
    draws = torch.Generator().manual_seed(0)

    def pick(count: int) -> int:
        return int(torch.randint(max(count, 1), (), generator=draws))

    leads = [" ".join(row["text"].split()[:words]) for row in rows]
    named = [_words(lead) for lead in leads]
    frequency = Counter(word for each in named for word in set(each))
    every = sorted(frequency)
    topics = sorted({row["topic"] for row in rows})
    unseen = set(topics[:: max(len(topics) // HELD_OUT, 1)][:HELD_OUT]) if len(topics) > HELD_OUT else set()
    of_topic: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        of_topic.setdefault(row["topic"], []).append(at)
    queries: dict[str, str] = {}
    turns = Turns(rewrites={"person": {}, "noisy-1": {}, "noisy-2": {}})
    splits: dict[str, list[Judged]] = {"train": [], "validation": [], "test": []}
    for at, row in enumerate(rows):
        other = of_topic[row["topic"]][pick(len(of_topic[row["topic"]]))]
        before = rows[other]
        title = set(_words(row["title"]))
        likely = [word for word in named[at] if 1 < frequency[word] <= len(rows) / 20 and word not in title]
        word = likely[pick(len(likely))] if likely else "that"
        form = pick(len(ASKS))
        held_out = row["topic"] in unseen
        key = f"{UNSEEN if held_out else ''}{at}"
        queries[key] = ASKS[form].format(word=word)
        about = named[other] or ["that"]
        turns.history[key] = (
            OPENS[pick(len(OPENS))].format(title=before["title"]),
            before["description"],
            ASKS[pick(len(ASKS))].format(word=about[pick(len(about))]),
            " ".join(leads[other].split()[:SHOWN]),
            TURNS[pick(len(TURNS))].format(title=row["title"]),
            "with pleasure.",
        )
        rewrite = STANDS[form].format(title=row["title"], word=word)
        turns.rewrites["person"][key] = rewrite
        for name in ("noisy-1", "noisy-2"):
            left = [each for each in rewrite.split() if float(torch.rand((), generator=draws)) >= MISSING]
            turns.rewrites[name][key] = " ".join([*left, *(every[pick(len(every))] for _ in range(ADDED))])
        share = float(torch.rand((), generator=draws))
        split = "test" if held_out or share >= sum(SHARES) else "train" if share < SHARES[0] else "validation"
        splits[split].append((key, str(at), 1.0))
    note = f"topics that are tested alone: {', '.join(sorted(unseen)) or 'none'}; a document is the first {words} words of a lead"
    documents = {str(at): lead for at, lead in enumerate(leads)}
    return build(documents, queries, splits, "wiki-conversations", [note], turns=turns, limit=limit)


def _words(text: str) -> list[str]:
    """Words of five letters and more, in lower case."""
    return re.findall(r"[^\W\d_]{5,}", text.lower())
