"""Rewrites of conversations' last turns: from the data, a model at hand or a server; each is a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.data.retrieval.load import Retrieval
from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges.writers import writer
from counterpoint.pairs.demonstrations import check_template
from counterpoint.training import Run

TEMPLATE = (
    "This is a conversation with a search engine:\n\n{conversation}\n\nRewrite its last question so that it can be understood without the rest of "
    "the conversation. Write the question and nothing else.\nQuestion: "
)
"""What a model that rewrites is shown; {conversation} is the conversation, the oldest utterance first."""
DATA = "data"
SHARD = 32
"""Queries of a durable shard."""


def rewrites(
    data: Retrieval,
    queries: Sequence[int],
    rewriters: Sequence[str],
    run: Run,
    *,
    template: str = TEMPLATE,
    longest: int = 64,
    key: str,
) -> dict[str, list[str]]:
    """Name of a rewriter -> a text for each query.

    Args:
        data: with conversations. queries: Q positions in it.
        rewriters: "data" (all that the data has), "data:NAME" (one of them), a folder or bundled name of a causal language model, or
            "NAME@URL" of a server.
        run: keeps what is written, in durable stages. template, longest: what a model is shown, and tokens that it may write.
        key: of the method, for messages.

    Raises:
        CounterpointError: none named, one that the data lacks, a query without a rewrite, or a template without its field.
    """
    if not rewriters:
        raise CounterpointError(
            f'{key}: teacher.rewriters is empty; name who rewrites, such as ["data"] or ["smollm2-135m-instruct"]'
        )
    texts: dict[str, list[str]] = {}
    for number, spec in enumerate(rewriters):
        name = spec.removeprefix(f"{DATA}:")
        if spec == DATA:
            chosen = list(data.rewrites)
            if not chosen:
                raise CounterpointError(
                    f"{key}: the data has no rewrites; give queries a column 'rewrite', a file rewrites/NAME.tsv of query-id and text, or name "
                    "a model that writes them, --teacher.rewriters FOLDER or NAME@URL"
                )
        elif spec != name:
            if name not in data.rewrites:
                raise CounterpointError(
                    f"{key}: the data has no rewrites by '{name}'; {nearest(name, list(data.rewrites))}"
                )
            chosen = [name]
        else:
            texts[spec] = _by_a_model(data, queries, spec, number, run, template, longest)
            continue
        for each in chosen:
            texts[each] = [_of_data(data, query, each, key) for query in queries]
    return texts


def _of_data(data: Retrieval, query: int, name: str, key: str) -> str:
    text = data.rewrites[name][query]
    if text is None:
        raise CounterpointError(
            f"{key}: the query {data.query_ids[query]!r} has no rewrite by '{name}'; every teacher must rewrite every training query, or leave "
            f"this one out, --teacher.rewriters data:OTHER"
        )
    return text


def _by_a_model(
    data: Retrieval, queries: Sequence[int], spec: str, number: int, run: Run, template: str, longest: int
) -> list[str]:
    check_template(template, "conversation")
    writing = None

    def written(shard: Sequence[int]) -> list[str]:
        nonlocal writing
        writing = writing or writer(spec, None, longest)
        prompts = [
            template.replace("{conversation}", "\n".join(reversed(data.conversation(query))))
            for query in shard
        ]
        # The first line that says anything; a model that writes nothing leaves the query as it is.
        lines = [next((line for line in text.splitlines() if line.strip()), "") for text in writing(prompts)]
        return [line.strip() or data.queries[query] for line, query in zip(lines, shard)]

    return run.stage(f"rewrites-{number}", written, over=list(queries), size=SHARD)
