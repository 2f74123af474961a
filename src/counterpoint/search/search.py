"""Search a corpus on disk with a saved model: an index, a TREC run in durable parts, figures against judgements.

The same call goes on where it was stopped: at the next shard of the index, or at the next part of the queries.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.data.retrieval import streams
from counterpoint.data.retrieval.trec import read_run, write_run
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.generation.rationales import embed
from counterpoint.models.folders import load
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.models.retrieval.sparse import SparseRetriever, is_masked
from counterpoint.models.retrieval.sparse import load as load_sparse
from counterpoint.models.retrieval.sparse_rows import SparseRows
from counterpoint.search.index import Index, build
from counterpoint.training.durable import write_file

METRICS = ("nDCG@3", "nDCG@10", "RR@10", "R@10", "R@100")
RUN, STATEMENT, PARTS = "run.trec", "search.json", "parts"
AT_ONCE = 64
"""Queries of a part, which are searched together and what a crash can cost."""


@dataclass(frozen=True)
class Searched:
    """What a search wrote.

    Attributes:
        run: the TREC run. documents, queries: how many. figures: by the names of metrics; empty without judgements.
        unranked: queries that nothing was above 0 for.
    """

    run: Path
    documents: int
    queries: int
    unranked: int
    figures: dict[str, float]


def search(
    model: str | Path,
    queries: Path,
    out: Path,
    *,
    corpus: Path | None = None,
    index: Path | None = None,
    judgements: Path | None = None,
    metrics: Sequence[str] = METRICS,
    count: int = 100,
    name: str = "counterpoint",
    shard: int = 10_000,
    say: Callable[[str], None] = lambda line: None,
) -> Searched:
    """Rank documents for queries.

    Args:
        model: folder of a retrieval model, or a sparse encoder's. queries: file of them, or a folder. out: folder of what is written.
        corpus: file or folder of documents; not needed where ``index`` is finished. index: its folder; ``out/index`` when None.
        judgements, metrics: what is measured, and against what; the latter by ir-measures' names.
        count: documents of a query. name: in the run. shard: documents encoded and kept together.
        say: called with lines about what is done.

    Raises:
        CounterpointError: no such model or file, another search or index in the folders, unknown metrics.
        MissingExtra: judgements without ir-measures, or a dense model without FAISS.
    """
    if count < 1 or shard < 1:
        raise CounterpointError(f"k={count}, shard={shard}; expected at least 1 of both")
    wanted = _measures(metrics) if judgements is not None else []
    judged = streams.judgements(judgements) if judgements is not None else []
    searches = streams.queries(streams.file_of(queries, ("queries", "topics")))
    net = opened(model)
    digest = weights_digest(net)
    folder = out / "index" if index is None else index
    if corpus is None:
        built = Index(folder)
        if built.stated["model"] != digest:
            raise CounterpointError(
                f"{folder} was built with another model; give --corpus and another --index"
            )
    else:
        built = build(net, digest, streams.file_of(corpus, ("corpus",)), folder, shard=shard, say=say)
    texts = [_shown(net, query) for query in searches]
    identity = {
        "index": built.stated,
        "model": digest,
        "k": count,
        "name": name,
        "queries": _digest(zip(searches, texts)),
    }
    _claim(out, identity)
    run = out / RUN
    if not run.exists():
        _ranked(net, built, searches, texts, out, count, name, say)
        write_run(
            run,
            ((key, rows) for part in sorted((out / PARTS).glob("*.run")) for key, rows in _part(part)),
            name,
        )
    ranked = len(read_run(run)) if run.stat().st_size else 0
    figures = _figures(run, judged, wanted)
    return Searched(run, len(built), len(searches), len(searches) - ranked, figures)


def opened(model: str | Path) -> nn.Module:
    """The model of a folder, or of a bundled or hub's masked language model.

    Raises:
        CounterpointError: no such folder or name.
    """
    path = Path(model)
    if path.is_dir() and not is_masked(path):
        return load(path).eval()
    if path.is_dir() and (path / "modules.json").exists():
        return load(path).eval()
    return load_sparse(model).eval()


def weights_digest(net: nn.Module) -> str:
    """Sha256 of a model's weights and of how texts are shown to it."""
    digest = hashlib.sha256(repr(getattr(net, "shape", getattr(net, "shown", ""))).encode())
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def _shown(net: nn.Module, query: streams.Query) -> list[str]:
    """What the model reads of a query: one text, or several rewrites."""
    if isinstance(net, SparseRetriever):
        return net.reading(query.conversation, query.rewrites, query.id)
    return [query.conversation[0]]


def _ranked(
    net: nn.Module,
    built: Index,
    searches: Sequence[streams.Query],
    texts: Sequence[Sequence[str]],
    out: Path,
    count: int,
    name: str,
    say: Callable[[str], None],
) -> None:
    """Write the parts of the run that are not there."""
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(searches), AT_ONCE)):
        path = out / PARTS / f"{number:05d}.run"
        if path.exists():
            continue
        some = slice(start, start + AT_ONCE)
        best = built.best(_vectors(net, texts[some]), count)
        write_run(path, [(query.id, rows) for query, rows in zip(searches[some], best)], name)
        say(f"searched {min(start + AT_ONCE, len(searches))} of {len(searches)} queries")


def _vectors(net: nn.Module, texts: Sequence[Sequence[str]]) -> Any:
    flat = [text for each in texts for text in each]
    if isinstance(net, Embedder):
        return embed(net, flat).numpy()
    assert isinstance(net, SparseRetriever)
    rows = net.encode_queries(flat)
    if len(flat) == len(texts):
        return rows
    ends = torch.tensor([0, *(len(each) for each in texts)]).cumsum(0).tolist()
    means = [rows.rows(torch.arange(first, last)).dense().mean(0) for first, last in itertools.pairwise(ends)]
    return SparseRows.of(torch.stack(means))


def _part(path: Path) -> Iterable[tuple[str, list[tuple[str, float]]]]:
    return read_run(path).items() if path.stat().st_size else ()


def _digest(rows: Iterable[tuple[streams.Query, Sequence[str]]]) -> str:
    digest = hashlib.sha256()
    for query, texts in rows:
        digest.update(json.dumps([query.id, list(texts)]).encode())
    return digest.hexdigest()


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Take a folder for this search.

    Raises:
        CounterpointError: another search is in it.
    """
    file = out / STATEMENT
    if file.is_file():
        there = json.loads(file.read_text(encoding="utf-8"))
        different = [key for key, value in identity.items() if there.get(key) != value]
        if different:
            raise CounterpointError(
                f"{out} holds a search with another {' and '.join(different)}; give another --out, or remove it"
            )
        return
    write_file(file, json.dumps(identity, indent=1))


def _measures(metrics: Sequence[str]) -> list[Any]:
    try:
        import ir_measures
    except ImportError:
        raise MissingExtra("ir-measures", "search") from None
    measures = []
    for metric in metrics:
        try:
            measures.append(ir_measures.parse_measure(metric))
        except (ValueError, NameError, SyntaxError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:80]
            raise CounterpointError(
                f"--metrics {metric}: {reason}; expected names of ir-measures such as {', '.join(METRICS)}"
            ) from None
    return measures


def _figures(
    run: Path, judged: Sequence[tuple[str, str, float]], measures: Sequence[Any]
) -> dict[str, float]:
    """Means over the queries that are judged, also those that nothing was ranked for."""
    if not measures:
        return {}
    import ir_measures

    whole = [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in judged]
    rows = read_run(run) if run.stat().st_size else {}
    scored = [
        ir_measures.ScoredDoc(query, document, score)
        for query, each in rows.items()
        for document, score in each
    ]
    values = ir_measures.calc_aggregate(measures, whole, scored)
    return {str(measure): float(values[measure]) for measure in measures}
