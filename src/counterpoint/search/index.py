"""An index on disk, a folder a shard: documents are encoded once, a shard at a time, and a build that was killed goes on.

Sparse vectors are an inverted index, postings by vocabulary entry in files that are mapped into memory, of which a query touches those
of its own entries (exact, by scipy); dense ones are a flat index of FAISS a shard (exact inner products). V entries, n documents of a shard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from counterpoint.data.retrieval.streams import corpus, fingerprint
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.generation.rationales import embed
from counterpoint.models.retrieval.embedder import Embedder
from counterpoint.models.retrieval.sparse import SparseRetriever
from counterpoint.models.retrieval.sparse_rows import SparseRows
from counterpoint.training.durable import damage, write_file, write_folder

STATEMENT, IDS = "index.json", "ids.json"
STARTS, DOCUMENTS, VALUES, FLAT = "starts.npy", "documents.npy", "values.npy", "flat.faiss"
Say = Callable[[str], None]


class Index:
    """Shards of a finished index.

    Args:
        folder: of it.

    Raises:
        CounterpointError: no finished index there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stated: dict[str, Any] = stated(folder)
        if not self.stated.get("documents"):
            raise CounterpointError(
                f"{folder} holds no finished index; run the search again with --corpus, which goes on with it"
            )

    def __len__(self) -> int:
        return int(self.stated["documents"])

    def shards(self) -> list[Path]:
        """Folders of the shards, in the corpus's order."""
        return sorted(path for path in self.folder.iterdir() if path.name.startswith("shard-"))

    def best(self, queries: SparseRows | np.ndarray, count: int) -> list[list[tuple[str, float]]]:
        """For each query the ``count`` documents of the highest scores above 0 (of dense vectors, of any), the best first, the earlier one of
        equals first.

        Args:
            queries: vectors, sparse or [Q, D].
        """
        size = len(queries)
        best: list[list[tuple[float, int, str]]] = [[] for _ in range(size)]
        offset = 0
        for shard in self.shards():
            ids = json.loads((shard / IDS).read_text(encoding="utf-8"))
            rows = (
                _sparse(shard, queries, count)
                if isinstance(queries, SparseRows)
                else _dense(shard, queries, count)
            )
            for row, (documents, scores) in enumerate(rows):
                some = [(-float(s), offset + int(d), ids[int(d)]) for d, s in zip(documents, scores)]
                best[row] = sorted([*best[row], *some])[:count]
            offset += len(ids)
        return [[(name, -score) for score, _, name in each] for each in best]


def stated(folder: Path) -> dict[str, Any]:
    """What an index says of itself; empty where there is none."""
    file = folder / STATEMENT
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CounterpointError(
            f"{file} cannot be read ({error}); remove {folder} and build the index anew"
        ) from None
    return dict(content)


def build(
    model: nn.Module, digest: str, source: Path, folder: Path, *, shard: int = 10_000, say: Say = print
) -> Index:
    """Encode a corpus into an index; a finished one is opened, one that was interrupted goes on at its next shard.

    Args:
        model: encodes documents. digest: of its weights. source: the corpus's file. folder: of the index.
        shard: documents of each.

    Raises:
        CounterpointError: another index there, an empty corpus, an id twice.
    """
    identity = {"corpus": fingerprint(source), "model": digest, "kind": _kind(model), "shard": shard}
    there = stated(folder)
    different = [name for name, value in identity.items() if there and there.get(name) != value]
    if different:
        raise CounterpointError(
            f"{folder} is an index of another {' and '.join(different)}; give another --index, or remove it"
        )
    if there.get("documents"):
        return Index(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / STATEMENT, json.dumps(identity, indent=1))
    seen: set[str] = set()
    for number, rows in enumerate(_shards(source, shard)):
        for key, _ in rows:
            if key in seen:
                raise CounterpointError(
                    f"{source}: the id {key!r} stands twice; every document needs its own"
                )
            seen.add(key)
        target = folder / f"shard-{number:05d}"
        if target.exists() and damage(target) is None:
            continue
        write_folder(target, lambda into, rows=rows: _fill(model, rows, into))  # type: ignore[misc]
        say(f"indexed {len(seen)} documents")
    if not seen:
        raise CounterpointError(
            f'{source} holds no documents; expected lines such as {{"_id": "d1", "text": "..."}}'
        )
    write_file(folder / STATEMENT, json.dumps({**identity, "documents": len(seen)}, indent=1))
    return Index(folder)


def _kind(model: nn.Module) -> str:
    if isinstance(model, SparseRetriever):
        return "sparse"
    if isinstance(model, Embedder):
        return "dense"
    raise CounterpointError(
        f"a {type(model).__name__} does not encode texts to be searched; give the folder of a retrieval model, such as runs/disco/model"
    )


def _shards(source: Path, size: int) -> Iterator[list[tuple[str, str]]]:
    rows = corpus(source)
    while part := list(islice(rows, size)):
        yield part


def _fill(model: nn.Module, rows: list[tuple[str, str]], folder: Path) -> None:
    texts = [text for _, text in rows]
    (folder / IDS).write_text(json.dumps([key for key, _ in rows]), encoding="utf-8")
    if isinstance(model, SparseRetriever):
        postings = model.encode_documents(texts).csr().T.tocsr()
        postings.sort_indices()
        arrays = {
            STARTS: postings.indptr.astype(np.int64),
            DOCUMENTS: postings.indices.astype(np.int32),
            VALUES: postings.data,
        }
        for name, array in arrays.items():
            np.save(folder / name, array, allow_pickle=False)
        return
    assert isinstance(model, Embedder)
    faiss = _faiss()
    vectors = embed(model, texts).numpy()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.write_index(flat, str(folder / FLAT))


def _sparse(shard: Path, queries: SparseRows, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(documents, scores) of each query: its entries' postings, added up."""
    starts = np.load(shard / STARTS, mmap_mode="r", allow_pickle=False)
    documents, values = (
        np.load(shard / name, mmap_mode="r", allow_pickle=False) for name in (DOCUMENTS, VALUES)
    )
    if len(starts) != queries.width + 1:
        raise CounterpointError(
            f"{shard} is over {len(starts) - 1} entries and the queries over {queries.width}; build the index with this model"
        )
    size = len(json.loads((shard / IDS).read_text(encoding="utf-8")))
    bounds = queries.starts.tolist()
    for first, last in pairwise(bounds):
        scores = np.zeros(size, dtype=np.float64)
        for entry, weight in zip(queries.entries[first:last].tolist(), queries.values[first:last].tolist()):
            part = slice(int(starts[entry]), int(starts[entry + 1]))
            scores[documents[part]] += weight * values[part].astype(np.float64)
        yield _above(scores, count)


def _above(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    from counterpoint.models.retrieval.sparse_rows import best_first

    order = best_first(scores, count)
    order = order[scores[order] > 0]
    return order, scores[order]


def _dense(shard: Path, queries: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    flat = _faiss().read_index(str(shard / FLAT))
    scores, documents = flat.search(queries, min(count, flat.ntotal))
    yield from zip(documents, scores)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtra("faiss", "search") from None
    return faiss
