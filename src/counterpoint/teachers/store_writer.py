"""Writes a teacher's answers down: shards that an interrupted writer keeps, of prompts and completions in a fixed order.

``teachers.stored`` says what is stored and reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head, Scores, Sparse, dense
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Prompts, Teacher
from counterpoint.teachers.store_files import (
    META,
    check,
    read_sealed,
    read_shard,
    to_bytes,
    write_sealed,
    write_shard,
    write_vocabulary,
)
from counterpoint.teachers.stored import Stored

LARGEST = {"vocabulary": 1 << 18, "draws": 63}
BUDGET = 1 << 27
"""Bytes of probabilities that are in memory at a time."""
FREE = ("teacher", "by")
"""Settings of a store that say who answered, not how it was written."""


@dataclass(frozen=True)
class Sampling:
    """Completions that are sampled only where a shard must be written.

    Attributes:
        question: text that says how and by whom; a shard that is there answers the same one.
        make: samples them.
    """

    question: str
    make: Callable[[], Tokens]


def write(
    folder: Path | str,
    teacher: Teacher[Scores | Sparse],
    shards: Iterable[tuple[Prompts, Tokens | Sampling, Tensor]],
    *,
    draws: int = 50,
    temperature: float = 1.0,
    seed: int = 0,
    vocabulary: Mapping[str, int] | None = None,
    prompt_ids: Callable[[Any], Sequence[list[int]]] | None = None,
    by: str = "",
) -> Stored:
    """Write a live teacher's answers down once; finished shards of an interrupted writer are kept.

    Args:
        folder: the store.
        teacher: a live teacher with whole distributions.
        shards: (prompts, completions, index) batches in a fixed order; one becomes one file. Completions that are a ``Sampling`` are
            stored, too.
        draws: entries drawn per position, at most 63.
        temperature: of the stored distribution.
        seed: of the draws; each shard's follow from the seed and its number.
        vocabulary: tokens and their ids, which a student is compared with.
        prompt_ids: the student's prompts of a shard's; a digest of each is stored.
        by: the teacher's name, for a store that others than that teacher's own student read.

    Raises:
        CounterpointError: a folder with another store in it (of another teacher, too), too many draws, a vocabulary above
            262,144.
    """
    if not 1 <= draws <= LARGEST["draws"]:
        raise CounterpointError(f"draws={draws}; a store holds 1 to {LARGEST['draws']} per position")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Runs of a study may want the same store at once: one writes, the others read.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        digest = write_vocabulary(folder, vocabulary or {})
        settings = {
            "draws": draws,
            "temperature": temperature,
            "seed": seed,
            "vocabulary": digest,
            "teacher": identity(teacher),
            "by": by,
        }
        started = folder / "settings.json"
        if started.exists():
            there = read_sealed(started)
            blank = dict.fromkeys(FREE, "")
            if {**there, **blank} != {**settings, **blank}:
                raise CounterpointError(
                    f"{folder} holds a store with other settings ({there}); use a new folder"
                )
            if there["teacher"] != settings["teacher"]:
                raise CounterpointError(f"{folder} holds another teacher's answers; use a new folder")
            settings["by"] = there["by"]
        else:
            write_sealed(started, settings)
        digests: dict[str, str] = {}
        for number, (prompts, completions, index) in enumerate(shards):
            name = f"shard-{number:06d}.safetensors"
            question = _question(teacher, prompts, completions, index)
            digests[name] = _whole_digest(folder / name, question)
            if not digests[name]:
                made = completions.make() if isinstance(completions, Sampling) else completions
                part = _shard(teacher, prompts, made, index, draws, temperature, seed + number)
                if isinstance(completions, Sampling):
                    ids = np.array([each for row in made.rows() for each in row], dtype=np.uint32)
                    part["completions"] = to_bytes(ids)
                if prompt_ids is not None:
                    part["prompts"] = np.array([check(ids) for ids in prompt_ids(prompts)], dtype=np.int64)
                digests[name] = write_shard(folder / name, part, question, digest)
        content = settings | {"shards": digests}
        if not (folder / META).exists() or read_sealed(folder / META) != content:
            write_sealed(folder / META, content)
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


def _question(teacher: Any, prompts: Any, completions: Tokens | Sampling, index: Tensor) -> str:
    """Digest of what a shard's teacher answers: rows, completions and the prompts as it sees them."""
    write = getattr(teacher, "write", None)
    if isinstance(prompts, Tokens):
        texts: list[Any] = prompts.rows()
    else:
        texts = [write(row) if callable(write) else row for row in prompts]
    answers = completions.question if isinstance(completions, Sampling) else completions.rows()
    text = json.dumps([index.tolist(), answers, texts], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole_digest(path: Path, question: str) -> str:
    """Digest of a shard that an interrupted writer left whole; "" where it must be made."""
    if not path.exists():
        return ""
    try:
        _, header = read_shard(path)
    except CounterpointError:
        return ""  # altered: made anew
    if header["question"] != question:
        raise CounterpointError(
            f"{path} answers other prompts or completions than those of this data; use a new folder"
        )
    return header["sha256"]


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
    entries = scores.vocabulary if isinstance(scores, Head) else scores.shape[-1]
    if entries > LARGEST["vocabulary"]:
        raise CounterpointError(f"a vocabulary of {entries} passes the store's {LARGEST['vocabulary']} ids")
    generator = torch.Generator().manual_seed(seed)
    answered = scores[completions.mask.bool()]
    parts = []
    for some in torch.arange(int(completions.mask.sum())).split(max(1, BUDGET // (4 * entries))):
        probs_NV = (dense(answered[some.to(completions.ids.device)]) / temperature).softmax(-1).cpu()
        parts.append(torch.multinomial(probs_NV, draws, replacement=True, generator=generator).sort(1).values)
    drawn = torch.cat(parts).numpy()
    new = np.ones_like(drawn, dtype=bool)
    new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    first = np.flatnonzero(new)
    counts = np.diff(np.append(first, drawn.size))  # a row starts anew, so runs never cross rows
    word = drawn.reshape(-1)[first].astype(np.uint32) << 6 | counts.astype(np.uint32)
    return {
        "rows": index.cpu().numpy().astype(np.int64),
        "lengths": completions.lengths.cpu().numpy().astype(np.int64),
        "checks": np.array([check(ids) for ids in completions.rows()], dtype=np.int64),
        "distinct": new.sum(1).astype(np.uint8),
        "packed": to_bytes(word),
    }
