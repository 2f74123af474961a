"""Retrieval: folders of a corpus, queries and judgements."""

from __future__ import annotations

from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.sample import FolderSample


def folder(look: FolderSample) -> bool:
    """Whether a corpus, queries and a folder of judgements lie in it, as in BEIR's folders."""
    top = {file.name.name.split(".")[0].lower() for file in look.files if len(file.name.parts) == 1}
    return (
        "corpus" in top
        and not top.isdisjoint({"queries", "topics"})
        and any("qrels" in file.name.parts[:-1] for file in look.files)
    )


DESCRIPTION = Description(
    kind="retrieval",
    looks="a folder with `corpus.jsonl`, `queries.jsonl` and judgements in `qrels/`, as BEIR has them",
    loaders={
        "": "counterpoint.data.retrieval.load:load_retrieval",
        "wiki-descriptions": "counterpoint.data.retrieval.sets:load",
        "wiki-conversations": "counterpoint.data.retrieval.sets:load",
    },
    bundled={
        "wiki-descriptions": "short descriptions of Wikipedia's vital articles as queries, their leads as documents; English, French or Spanish",
        "wiki-conversations": "conversations about such articles by rule, with rewrites of their last turns; whole topics are tested alone",
    },
    folder=folder,
)
