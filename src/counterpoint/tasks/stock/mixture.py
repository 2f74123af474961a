"""A small mixture of experts that learnt sums from scratch, and a dense model that learnt less: for decoding by contrast.

"mixture" is a character-level Mixtral of 3 layers with 8 experts each, of which 2 act; it is taught until it adds three-digit
numbers right about two times in three, so that there are mistakes to mend. "mixture-amateur" is a dense model of one layer,
taught the same. Problems of the data at hand are never among what they were taught. Made on first use, then kept.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import torch

from counterpoint.data.language.problems import Problem, ProblemData
from counterpoint.data.language.puzzles import sum_problem
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny, tokenizer
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join
from counterpoint.tasks.stock.stored import stored

ALPHABET = "0123456789+=,;"
NAMES = ("mixture", "mixture-amateur")


def load(name: str, data: ProblemData, seed: int) -> Language:
    """Return the model of a seed for this data, taught now or taken from the cache."""
    source = "".join(inspect.getsource(each) for each in (taught, experts, amateur))
    identity = f"{name}/{seed}/{data.fingerprint()}/{source}"
    fresh = experts if name == "mixture" else amateur
    return stored("mixtures", f"{name}-{seed}", identity, lambda: taught(fresh(seed), data, seed))


def experts(seed: int, *, width: int = 48, layers: int = 3, num_experts: int = 8) -> Language:
    """A fresh mixture of experts, two of which act; the seed alone decides its weights."""
    from transformers import MixtralConfig, MixtralForCausalLM

    names = tokenizer(ALPHABET)
    config = MixtralConfig(
        vocab_size=len(names),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_local_experts=num_experts,
        num_experts_per_tok=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        router_aux_loss_coef=0.01,
        sliding_window=None,
        pad_token_id=names.pad_token_id,
        bos_token_id=names.bos_token_id,
        eos_token_id=names.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Language(MixtralForCausalLM(config), names)


def amateur(seed: int) -> Language:
    """A fresh dense model of the same alphabet, too small to add."""
    return tiny(seed=seed, layers=1, width=32, heads=4, length=128, alphabet=ALPHABET)


def taught(
    model: Language,
    data: ProblemData,
    seed: int,
    *,
    steps: int = 800,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
) -> Language:
    """Teach a fresh model sums of three digits that are not among the data's.

    Args:
        model: fresh. data: whose problems are left out. seed: of examples and order.
        steps, batch_size, learning_rate: of the training.

    Raises:
        CounterpointError: data that hold no sum of three digits.
    """
    held_out = {row.key() for part in (data.train, data.validation, data.test) for row in part}
    draw = random.Random(f"mixture/{seed}")
    if not any("+" in key for key in held_out):
        raise CounterpointError(
            "the models 'mixture' and 'mixture-amateur' are taught worked sums, and this data holds none; use the data "
            "'worked-sums', or another model"
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    options: dict[str, Any] = (
        {"output_router_logits": True} if hasattr(model.config, "num_local_experts") else {}
    )
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1.0 - 0.9 * step / steps)
        rows: list[Problem] = []
        while len(rows) < batch_size:
            row = sum_problem(draw.randint(100, 999), draw.randint(100, 999))
            if row.key() not in held_out:
                rows.append(row)
        prompts, completions = (
            model.prompts([r.prompt for r in rows]),
            model.completions([r.solution for r in rows]),
        )
        both = join(prompts, completions)
        labels = both.ids.masked_fill(both.mask == 0, -100)
        labels[:, : prompts.width] = -100
        loss = model.causal(input_ids=both.ids, attention_mask=both.mask, labels=labels, **options).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()
