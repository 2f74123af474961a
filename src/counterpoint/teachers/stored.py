"""A teacher that was written down: unbiased sparse probabilities, stored once, read in every epoch.

At each position n entries are drawn from the teacher's own distribution, with replacement; an entry drawn c times is
stored with probability c/n (random sampling distillation, arXiv 2503.16870). The estimate of every gradient of the
forward KL is then unbiased, which the top k entries never are. One distinct entry takes three bytes, 18 bits of id and 6
of count, and one byte per position says how many there are: about 37 bytes per token at n = 50 for a confident teacher.

The store is a folder of safetensors shards, each put in place whole, so an interrupted writer goes on where it was. Every
shard carries a digest of its content, of the prompts and of the vocabulary; the store knows whose answers it holds, which token every id
is, and, where they were sampled for it, the completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Sparse
from counterpoint.models import tokens as token_rows
from counterpoint.models.language.language import compare_vocabularies
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Prompts
from counterpoint.teachers.store_files import META, check, read_sealed, read_shard, read_vocabulary, words


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
                f"{folder} holds no finished store; write one: counterpoint store-teacher --data DATA --model STUDENT --teacher TEACHER --out FOLDER"
            )
        self.folder, self.meta = folder, read_sealed(folder / META)
        parts = [read_shard(folder / name, digest)[0] for name, digest in self.meta["shards"].items()]
        self.rows = np.concatenate([part["rows"] for part in parts])
        self.checks = np.concatenate([part["checks"] for part in parts])
        lengths = np.concatenate([part["lengths"] for part in parts])
        self.distinct = np.concatenate([part["distinct"] for part in parts])
        self.packed = np.concatenate([part["packed"] for part in parts])
        self.prompt_checks = (
            np.concatenate([part["prompts"] for part in parts])
            if all("prompts" in part for part in parts)
            else None
        )
        self.ids = (
            np.concatenate([part["completions"] for part in parts])
            if all("completions" in part for part in parts)
            else None
        )
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
        word = words(self.packed[np.where(used, entries, 0)])
        ids = np.where(used, word >> 6, 0)
        probs = np.where(used, (word & 63) / self.meta["draws"], 0.0).astype(np.float32)
        device = completions.ids.device
        return Sparse(torch.from_numpy(ids).to(device), torch.from_numpy(probs).to(device))

    @property
    def sampled(self) -> bool:
        """Whether it holds completions of its own, and not answers to the data's references."""
        return self.ids is not None

    def completions(self, index: Tensor) -> Tokens:
        """[B, T] the completions that were sampled for rows of the data.

        Raises:
            CounterpointError: the store answers the data's references, or a row is not in it.
        """
        if self.ids is None:
            raise CounterpointError(f"{self.folder} answers the data's references and holds no completions")
        numbers = [self._number(int(row)) for row in index]
        return token_rows.pad(
            [words(self.ids[self.token_starts[at] : self.token_ends[at]]).tolist() for at in numbers],
            side="right",
        )

    def require_prompts(self, index: Tensor, prompts: Tokens) -> None:
        """See that rows have the prompts that they had when the store was written.

        Raises:
            CounterpointError: one has another.
        """
        for row, ids in zip(index.tolist(), prompts.rows(), strict=True):
            number = self._number(row)
            if self.prompt_checks is not None and self.prompt_checks[number] != check(ids):
                raise CounterpointError(
                    f"row {row}: the prompt differs from the one in {self.folder}; the data, its options or the chat template "
                    "changed, so write the store again"
                )

    def require_vocabulary(self, vocabulary: Mapping[str, int]) -> None:
        """See that every id means to a student what it meant to the teacher.

        Args:
            vocabulary: the student's tokens with their ids.

        Raises:
            CounterpointError: the first token that differs, or a store that does not say what its ids are.
        """
        digest = self.meta.get("vocabulary", "")
        if not digest:
            raise CounterpointError(
                f"{self.folder} does not say which tokens its ids are; remove it and write the store again"
            )
        compare_vocabularies(vocabulary, read_vocabulary(self.folder, digest))

    def _number(self, row: int) -> int:
        number = self.row_numbers.get(row)
        if number is None:
            raise CounterpointError(
                f"row {row} is not in the store of {len(self.rows)} rows; write it for this data"
            )
        return number

    def _find(self, row: int, ids: list[int]) -> int:
        number = self._number(row)
        if self.checks[number] != check(ids):
            raise CounterpointError(
                f"row {row}: the completion differs from the stored one; the data or the tokenizer changed, so write the "
                "store again"
            )
        return number
