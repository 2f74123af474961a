"""A teacher that was written down: unbiased sparse probabilities, stored once, read in every epoch.

At each position n entries are drawn from the teacher's own distribution, with replacement; an entry drawn c times is
stored with probability c/n (random sampling distillation, arXiv 2503.16870). The estimate of every gradient of the
forward KL is then unbiased, which the top k entries never are. One distinct entry takes three bytes, 18 bits of id and 6
of count, and one byte per position says how many there are: about 37 bytes per token at n = 50 for a confident teacher.

The store is a folder of safetensors shards, each put in place whole, so an interrupted writer goes on where it was. Every
shard carries a digest of its content and of the prompts; the store knows whose answers it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Scores, Sparse, dense
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Prompts, Teacher

LARGEST = {"vocabulary": 1 << 18, "draws": 63}
META = "store.json"
SEAL = "counterpoint"  # one entry: safetensors writes several in any order


class Stored:
    """Reads what ``write`` wrote, in place of the live teacher.

    Args:
        folder: the store.

    Raises:
        CounterpointError: no store there, an unfinished one, one that was altered, or one without digests.
    """

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        if not (folder / META).exists():
            raise CounterpointError(
                f"{folder} holds no finished store; write one: teachers.stored.write(folder, ...)"
            )
        self.meta = _read_sealed(folder / META)
        parts = [_read_shard(folder / name, digest)[0] for name, digest in self.meta["shards"].items()]
        self.rows = np.concatenate([part["rows"] for part in parts])
        self.checks = np.concatenate([part["checks"] for part in parts])
        lengths = np.concatenate([part["lengths"] for part in parts])
        self.distinct = np.concatenate([part["distinct"] for part in parts])
        self.packed = np.concatenate([part["packed"] for part in parts])
        self.row_numbers = {int(row): number for number, row in enumerate(self.rows)}
        self.token_ends = np.cumsum(lengths)
        self.token_starts = self.token_ends - lengths
        self.entry_ends = np.cumsum(self.distinct, dtype=np.int64)

    def answer(self, prompts: Prompts, completions: Tokens, index: Tensor | None = None) -> Sparse:
        """Sparse probabilities at the completions' positions [B, T].

        Args:
            prompts: not looked at; the store answered them when it was written.
            completions: the very completions that were stored; checked by a sum.
            index: [B] rows of the data.

        Raises:
            CounterpointError: no index, a row that is not in the store, or a completion that changed since.
        """
        if index is None:
            raise CounterpointError("a stored teacher answers by row; pass index=batch.index")
        at = np.array([self._find(int(row), ids) for row, ids in zip(index, completions.rows())])
        width = completions.width
        starts, ends = self.token_starts[at], self.token_ends[at]
        tokens = starts[:, None] + np.arange(width)  # [B, T] positions in the store
        there = tokens < ends[:, None]
        tokens = np.where(there, tokens, 0)
        counts = np.where(there, self.distinct[tokens], 0).astype(np.int64)
        most = max(int(counts.max(initial=0)), 1)
        slots = np.arange(most)
        entries = (self.entry_ends[tokens] - self.distinct[tokens])[..., None] + slots
        used = slots < counts[..., None]
        three = self.packed[np.where(used, entries, 0)].astype(np.int64)
        word = three[..., 0] | three[..., 1] << 8 | three[..., 2] << 16
        ids = np.where(used, word >> 6, 0)
        probs = np.where(used, (word & 63) / self.meta["draws"], 0.0).astype(np.float32)
        device = completions.ids.device
        return Sparse(torch.from_numpy(ids).to(device), torch.from_numpy(probs).to(device))

    def _find(self, row: int, ids: list[int]) -> int:
        number = self.row_numbers.get(row)
        if number is None:
            raise CounterpointError(
                f"row {row} is not in the store of {len(self.rows)} rows; write it for this data"
            )
        if self.checks[number] != _check(ids):
            raise CounterpointError(
                f"row {row}: the completion differs from the stored one; the data or the tokenizer changed, so write the "
                "store again"
            )
        return number


def write(
    folder: Path | str,
    teacher: Teacher[Scores | Sparse],
    shards: Iterable[tuple[Prompts, Tokens, Tensor]],
    *,
    draws: int = 50,
    temperature: float = 1.0,
    seed: int = 0,
) -> Stored:
    """Write a live teacher's answers down once; finished shards of an interrupted writer are kept.

    Args:
        folder: the store.
        teacher: a live teacher with whole distributions.
        shards: (prompts, completions, index) batches in a fixed order; one becomes one file.
        draws: entries drawn per position, at most 63.
        temperature: of the stored distribution.
        seed: of the draws; each shard's follow from the seed and its number.

    Raises:
        CounterpointError: a folder with another store in it (of another teacher, too), too many draws, a vocabulary above
            262,144.
    """
    if not 1 <= draws <= LARGEST["draws"]:
        raise CounterpointError(f"draws={draws}; a store holds 1 to {LARGEST['draws']} per position")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"draws": draws, "temperature": temperature, "seed": seed, "teacher": identity(teacher)}
    started = folder / "settings.json"
    if started.exists():
        there = _read_sealed(started)
        if {**there, "teacher": ""} != {**settings, "teacher": ""}:
            raise CounterpointError(f"{folder} holds a store with other settings ({there}); use a new folder")
        if there != settings:
            raise CounterpointError(f"{folder} holds another teacher's answers; use a new folder")
    else:
        _write_sealed(started, settings)
    digests: dict[str, str] = {}
    for number, (prompts, completions, index) in enumerate(shards):
        name = f"shard-{number:06d}.safetensors"
        question = _question(teacher, prompts, completions, index)
        digests[name] = _whole_digest(folder / name, question)
        if not digests[name]:
            part = _shard(teacher, prompts, completions, index, draws, temperature, seed + number)
            digests[name] = _digest(part)
            aside = folder / (name + ".partial")
            save_file(
                part, aside, metadata={SEAL: json.dumps({"sha256": digests[name], "question": question})}
            )
            os.replace(aside, folder / name)
    _write_sealed(folder / META, settings | {"shards": digests})
    return Stored(folder)


def identity(teacher: Any) -> str:
    """Sha256 of a teacher's weights, wherever they hang on it; of its class's name where it has none.

    >>> one, other = (torch.nn.Linear(2, 2, bias=False) for _ in range(2))
    >>> identity(one) == identity(one), identity(one) == identity(other)
    (True, False)
    """
    whole = hashlib.sha256(type(teacher).__qualname__.encode())
    stack, seen = [teacher], set[int]()
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, nn.Module):
            for name, value in sorted(part.state_dict().items()):
                whole.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
                whole.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        else:
            inner = getattr(part, "__dict__", {}).values()
            stack.extend(each for each in inner if isinstance(each, nn.Module) or hasattr(each, "answer"))
            stack.extend(each for each in inner if hasattr(each, "model") and each not in stack)
    return whole.hexdigest()


def _question(teacher: Any, prompts: Any, completions: Tokens, index: Tensor) -> str:
    """Digest of what a shard's teacher answers: rows, completions and the prompts as it sees them."""
    write = getattr(teacher, "write", None)
    if isinstance(prompts, Tokens):
        texts: list[Any] = prompts.rows()
    else:
        texts = [write(row) if callable(write) else row for row in prompts]
    text = json.dumps([index.tolist(), completions.rows(), texts], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole_digest(path: Path, question: str) -> str:
    """Digest of a shard that an interrupted writer left whole; "" where it must be made."""
    if not path.exists():
        return ""
    try:
        _, header = _read_shard(path)
    except CounterpointError:
        return ""  # altered: made anew
    if header["question"] != question:
        raise CounterpointError(
            f"{path} answers other prompts or completions than those of this data; use a new folder"
        )
    return header["sha256"]


def _read_shard(path: Path, digest: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, "numpy") as file:
            header: dict[str, str] = json.loads((file.metadata() or {})[SEAL])
        part = load_file(path)
        whole = header["sha256"] == _digest(part) and len(header["question"]) == 64
        if not whole or (digest is not None and header["sha256"] != digest):
            raise ValueError("its content differs from what was written")
    except (KeyError, TypeError, OSError, ValueError, SafetensorError) as error:
        raise CounterpointError(
            f"{path} was altered, is torn, or has no digest ({' '.join(str(error).split())[:80]}); remove its folder and "
            "write the store again"
        ) from None
    return part, header


def _digest(part: Mapping[str, np.ndarray]) -> str:
    whole = hashlib.sha256()
    for name in sorted(part):
        whole.update(f"{name} {part[name].shape} {part[name].dtype};".encode())
        whole.update(np.ascontiguousarray(part[name]).tobytes())
    return whole.hexdigest()


def _write_sealed(path: Path, content: dict[str, Any]) -> None:
    aside = path.with_name(path.name + ".partial")
    aside.write_text(json.dumps(content | {"seal": _seal(content)}), encoding="utf-8")
    os.replace(aside, path)


def _read_sealed(path: Path) -> dict[str, Any]:
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content.pop("seal", None) == _seal(content)
    except (ValueError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CounterpointError(
            f"{path} was altered, or is of a version that kept no digests; remove its folder and write the store again"
        )
    return dict(content)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shard(
    teacher: Teacher[Scores | Sparse],
    prompts: Prompts,
    completions: Tokens,
    index: Tensor,
    draws: int,
    temperature: float,
    seed: int,
) -> dict[str, np.ndarray]:
    scores = teacher.answer(prompts, completions, index)
    if isinstance(scores, Sparse):
        raise CounterpointError(
            "only a teacher with whole distributions can be written down; this one is sparse already"
        )
    probs_NV = (dense(scores[completions.mask.bool()]) / temperature).softmax(-1).cpu()
    if probs_NV.shape[1] > LARGEST["vocabulary"]:
        raise CounterpointError(
            f"a vocabulary of {probs_NV.shape[1]} passes the store's {LARGEST['vocabulary']} ids"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(probs_NV, draws, replacement=True, generator=generator).sort(1).values.numpy()
    new = np.ones_like(drawn, dtype=bool)
    new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    first = np.flatnonzero(new)
    counts = np.diff(np.append(first, drawn.size))  # a row starts anew, so runs never cross rows
    word = drawn.reshape(-1)[first].astype(np.uint32) << 6 | counts.astype(np.uint32)
    packed = np.stack([word & 255, word >> 8 & 255, word >> 16], 1).astype(np.uint8)
    return {
        "rows": index.cpu().numpy().astype(np.int64),
        "lengths": completions.lengths.cpu().numpy().astype(np.int64),
        "checks": np.array([_check(ids) for ids in completions.rows()], dtype=np.int64),
        "distinct": new.sum(1).astype(np.uint8),
        "packed": packed,
    }


def _check(ids: list[int]) -> int:
    return zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
