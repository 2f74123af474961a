"""Learning from proofs and conjectures as they were sampled: one pass, with an optimiser of its own, over weighted rows or over groups.

Rows: sum of w_y log pi over the batch's tokens (``weighted_likelihood``). Groups: CISPO (``group_cispo``). B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.self_play import group_advantages, group_cispo, weighted_likelihood
from counterpoint.training import Optimizer, Run

SHARD = 16
"""Groups whose log-probabilities are a durable shard."""


class Row(TypedDict):
    """A rollout to learn from: its prompt, what was written (ids), its weight."""

    prompt: str
    ids: list[int]
    weight: float


class Group(TypedDict):
    """The rollouts of one prompt (ids) with their rewards."""

    prompt: str
    ids: list[list[int]]
    rewards: list[float]


def learn_rows(
    run: Run, model: Language, rows: Sequence[Row], rule: Optimizer, batch_size: int, name: str
) -> None:
    """One pass over weighted rollouts; nothing happens without any.

    Args:
        rule: of a new optimiser. name: of the loop and the loss.
    """
    if not rows:
        return
    run.optimize(model, rule, name=f"{name}-optimizer")
    for batch in run.batches(list(rows), batch_size, epochs=1.0, name=name):
        items: list[Row] = batch.items
        prompts, ids = [row["prompt"] for row in items], [row["ids"] for row in items]
        logp, written = _log_probs(model, prompts, ids, run)
        weight = torch.tensor([row["weight"] for row in items], dtype=torch.float64).to(logp)
        loss = weighted_likelihood(logp, weight, written.authored)
        run.step({name: loss}, tokens=int(written.authored.sum()), optimizer=f"{name}-optimizer")


def learn_groups(
    run: Run,
    model: Language,
    groups: Sequence[Group],
    rule: Optimizer,
    batch_size: int,
    clip: tuple[float, float],
    name: str,
) -> None:
    """One pass of CISPO over groups of as many rollouts each; the ratio is to the model before the pass.

    Args:
        batch_size: groups a batch. clip: distances from 1, below and above.
    """
    if not groups:
        return

    @torch.no_grad()
    def before(shard: Sequence[int]) -> list[list[list[float]]]:
        rows = [(groups[at]["prompt"], groups[at]["ids"]) for at in shard]
        return [_log_probs(model, [prompt] * len(ids), ids)[0].tolist() for prompt, ids in rows]

    old = run.stage("before", before, over=range(len(groups)), size=SHARD)
    rewards = torch.tensor([group["rewards"] for group in groups], dtype=torch.float64)
    advantage_GK, size = group_advantages(rewards), rewards.shape[1]
    run.optimize(model, rule, name=f"{name}-optimizer")
    for batch in run.batches(range(len(groups)), batch_size, epochs=1.0, name=name):
        numbers = [int(at) for at in batch.items]
        items = [groups[at] for at in numbers]
        ids = [each for group in items for each in group["ids"]]
        logp, written = _log_probs(model, [group["prompt"] for group in items for _ in range(size)], ids, run)
        earlier = torch.zeros_like(logp)
        for row, values in enumerate(each for at in numbers for each in old[at]):
            values = values[: logp.shape[1]]
            earlier[row, : len(values)] = logp.new_tensor(values)
        tokens = [sum(map(len, group["ids"])) for group in items for _ in range(size)]
        advantage = advantage_GK[numbers].flatten().to(logp)
        loss = group_cispo(
            logp,
            earlier,
            advantage,
            written.authored,
            logp.new_tensor(tokens),
            size,
            low=clip[0],
            high=clip[1],
        )
        run.step({name: loss}, tokens=int(written.authored.sum()), optimizer=f"{name}-optimizer")


def _log_probs(
    model: Language, prompts: Sequence[str], ids: Sequence[list[int]], run: Run | None = None
) -> tuple[Tensor, Tokens]:
    """([B, T] log-probabilities, completions) of rollouts as they were sampled; with a run, by its forward pass."""
    written = sampled(model, ids)
    forward = None if run is None else run.forward
    return completion_log_probs(model, model.prompts(list(prompts)), written, forward=forward), written
