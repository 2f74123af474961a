"""Log-probabilities of rows under the model before it is trained: one pass, only over rows that the budget will use, kept for later runs.

Sums are kept by content in ``<cache>/references``: the weights' bytes, every token of the rows that went through together,
this package's code for language models, and what decides rounding (device, threads, torch, rows at once). So a kept sum is,
to the last bit, what would be computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import transformers
from torch import Tensor

from counterpoint.bundled.cache import root
from counterpoint.kernels.sharing import sharing
from counterpoint.models import passes
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens
from counterpoint.training import Run, tree
from counterpoint.training.durable import damage, write_folder

SHARD = 64
"""Rows per durable shard."""

Rows = Callable[[Sequence[int]], tuple[Tokens, Tokens]]
"""Row numbers to prompts and answers, k of each to a row: all rows' first answers, then all rows' second ones."""


@torch.no_grad()
def reference_sums(
    run: Run,
    model: Language,
    rows: Rows,
    indices: Sequence[int],
    count: int,
    reduce: Callable[[Tensor, Tokens], Tensor],
    how: str = "",
) -> Tensor:
    """Return [count, k] sums of the answers' log-probabilities under the model as it is; NaN in rows that are not asked for.

    Args:
        run: the run; the pass is a durable stage of it. model: its model, not trained yet.
        rows: makes tokens of row numbers. indices: row numbers that are needed. count: rows in all.
        reduce: token log-probabilities [R, T] and answers to [R].
        how: names what ``reduce`` does where that is not a plain sum.
    """

    @cache
    def weights() -> str:
        return weights_identity(model)

    def made(shard: Sequence[int], prompts: Tokens, answers: Tokens) -> list[list[float]]:
        columns: list[list[float]] = []
        sizes = (prompts.lengths + answers.lengths).view(-1, len(shard))
        taken = (sizes.amax(0) * len(sizes)).tolist()  # a row's answers go together
        for part in passes.over(shard, len(shard), lengths=taken):
            prompts, answers = rows(part)
            sums = reduce(completion_log_probs(model, prompts, answers, forward=run.forward), answers)
            columns += sums.double().reshape(-1, len(part)).T.tolist()
        return columns

    def resumable(shard: Sequence[int]) -> list[list[float]]:
        prompts, answers = rows(shard)
        described = json.dumps([weights(), how, code(), *_rounding(run, model, len(shard))])
        digest = hashlib.sha256(described.encode())
        for each in (prompts.ids, prompts.mask, answers.ids, answers.mask, answers.authored):
            digest.update(f"{tuple(each.shape)};".encode() + each.cpu().numpy().tobytes())
        folder = root() / "references" / digest.hexdigest()[:2] / digest.hexdigest()
        if not folder.is_dir() or damage(folder) is not None:
            result = made(shard, prompts, answers)
            write_folder(folder, lambda aside: tree.write(result, aside))
        return list(tree.read(folder))

    sums = run.stage("reference", resumable, over=list(indices), size=SHARD)
    run.prepared(whole=len(indices) == count)
    width = len(sums[0]) if sums else 2
    table = torch.full((count, width), torch.nan, dtype=torch.float32)
    if sums:
        table[torch.tensor(list(indices))] = torch.tensor(sums)
    return table


@cache
def code() -> str:
    """Sha256 of this package's code for language models: what another version computed is not reused."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for part in ("kernels", "models", "objectives"):
        for path in sorted((package / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _rounding(run: Run, model: Language, rows: int) -> list[str]:
    """What changes the last bits of a pass."""
    precision, sharing_mode = run.accelerator.mixed_precision, sharing()
    sizes = passes.at_once(rows), passes.token_limit() or 0, torch.get_num_threads()
    return [
        *map(str, (model.device.type, precision, sharing_mode, *sizes)),
        torch.__version__,
        transformers.__version__,
    ]


def weights_identity(model: Language) -> str:
    """Sha256 of what decides a model's outputs: its weights; adapters that change nothing yet (B is 0) are left out.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.models.language.language import adapt
    >>> weights_identity(tiny(seed=0)) == weights_identity(adapt(tiny(seed=0), 4, seed=7)) != weights_identity(tiny(seed=1))
    True
    """
    named = dict(model.causal.named_parameters()) | dict(model.causal.named_buffers())
    idle = not any(bool(value.any()) for name, value in named.items() if "lora_B" in name)
    digest = hashlib.sha256(type(model.base).__name__.encode())
    for name, value in sorted((_plain(name), value) for name, value in named.items()):
        if idle and "lora_" in name:
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        # A copy: weights that were gathered from shards are freed later, and an array that looks at them forbids that.
        flat = value.detach().cpu().clone(memory_format=torch.contiguous_format).flatten()
        digest.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return digest.hexdigest()


def _plain(name: str) -> str:
    """A weight's name without what PEFT puts around it."""
    return name.replace("base_model.model.", "").replace(".base_layer", "")
