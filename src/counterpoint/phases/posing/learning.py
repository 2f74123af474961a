"""Learning from proofs and conjectures as they were sampled: one pass, with an optimiser of its own, over weighted rows or over groups.

Rows: sum of w_y log pi over the batch's tokens (``weighted_likelihood``). Groups: CISPO (``group_cispo``). B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.self_play import group_advantages, group_cispo, weighted_likelihood
from counterpoint.phases.distillation.engine_weighing import weighed
from counterpoint.phases.posing.rounds import Rollout
from counterpoint.training import Optimizer, Run

SHARD = 16
"""Groups whose log-probabilities are a durable shard."""


class Row(TypedDict):
    """A rollout to learn from: its prompt, what was written (ids), its weight, what an engine gave its tokens."""

    prompt: str
    ids: list[int]
    weight: float
    log_probs: NotRequired[list[float]]


class Group(TypedDict):
    """The rollouts of one prompt (ids) with their rewards, and what an engine gave their tokens."""

    prompt: str
    ids: list[list[int]]
    rewards: list[float]
    log_probs: NotRequired[list[list[float]]]


@dataclass(frozen=True)
class Weighing:
    """How what an engine sampled is weighed.

    Attributes:
        cap: the largest weight, ``PolicySource.largest_weight``. temperature: of sampling.
    """

    cap: float
    temperature: float = 1.0


def rollout_row(prompt: str, rollout: Rollout, weight: float) -> Row:
    """A sampled text with its weight."""
    row = Row(prompt=prompt, ids=rollout["ids"], weight=weight)
    if "log_probs" in rollout:
        row["log_probs"] = rollout["log_probs"]
    return row


def rollout_group(prompt: str, rollouts: Sequence[Rollout], rewards: list[float]) -> Group:
    """The sampled texts of one prompt with their rewards."""
    group = Group(prompt=prompt, ids=[each["ids"] for each in rollouts], rewards=rewards)
    given = [each["log_probs"] for each in rollouts if "log_probs" in each]
    if given:
        group["log_probs"] = given
    return group


def learn_rows(
    run: Run,
    model: Language,
    rows: Sequence[Row],
    rule: Optimizer,
    batch_size: int,
    name: str,
    weighing: Weighing | None = None,
) -> None:
    """One pass over weighted rollouts; nothing happens without any.

    Args:
        rule: of a new optimiser. name: of the loop and the loss.
        weighing: of rows that an engine sampled; by the model's log-probabilities before the pass.
    """
    if not rows:
        return
    own = (
        [] if weighing is None else _own(run, model, [(row["prompt"], row["ids"]) for row in rows], weighing)
    )
    run.optimize(model, rule, name=f"{name}-optimizer")
    for batch in run.batches(list(rows), batch_size, epochs=1.0, name=name):
        items: list[Row] = batch.items
        prompts, ids = [row["prompt"] for row in items], [row["ids"] for row in items]
        logp, written = _log_probs(model, prompts, ids, run)
        weight = torch.tensor([row["weight"] for row in items], dtype=torch.float64).to(logp)
        factors, figures = None, dict[str, Tensor]()
        if weighing is not None:
            mine, engine = [own[at] for at in batch.index.tolist()], [row["log_probs"] for row in items]
            factors, figures = _weighed(mine, engine, logp, written, weighing)
        loss = weighted_likelihood(logp, weight, written.authored, factors)
        loss.stats.update(figures)
        run.step({name: loss}, tokens=int(written.authored.sum()), optimizer=f"{name}-optimizer")


def learn_groups(
    run: Run,
    model: Language,
    groups: Sequence[Group],
    rule: Optimizer,
    batch_size: int,
    clip: tuple[float, float],
    name: str,
    weighing: Weighing | None = None,
) -> None:
    """One pass of CISPO over groups of as many rollouts each; the ratio is to the model before the pass.

    Args:
        batch_size: groups a batch. clip: distances from 1, below and above.
        weighing: as of ``learn_rows``.
    """
    if not groups:
        return

    @torch.no_grad()
    def before(shard: Sequence[int]) -> list[list[list[float]]]:
        rows = [(groups[at]["prompt"], groups[at]["ids"]) for at in shard]
        return [_log_probs(model, [prompt] * len(ids), ids)[0].tolist() for prompt, ids in rows]

    old = run.stage("before", before, over=range(len(groups)), size=SHARD)
    flat = [(group["prompt"], each) for group in groups for each in group["ids"]]
    own = [] if weighing is None else _own(run, model, flat, weighing)
    rewards = torch.tensor([group["rewards"] for group in groups], dtype=torch.float64)
    advantage_GK, size = group_advantages(rewards), rewards.shape[1]
    run.optimize(model, rule, name=f"{name}-optimizer")
    for batch in run.batches(range(len(groups)), batch_size, epochs=1.0, name=name):
        numbers = [int(at) for at in batch.items]
        items = [groups[at] for at in numbers]
        ids = [each for group in items for each in group["ids"]]
        logp, written = _log_probs(model, [group["prompt"] for group in items for _ in range(size)], ids, run)
        earlier = _padded([each for at in numbers for each in old[at]], logp)
        factors, figures = None, dict[str, Tensor]()
        if weighing is not None:
            mine = [own[at * size + k] for at in numbers for k in range(size)]
            engine = [each for group in items for each in group["log_probs"]]
            factors, figures = _weighed(mine, engine, logp, written, weighing)
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
            factor_BT=factors,
        )
        loss.stats.update(figures)
        run.step({name: loss}, tokens=int(written.authored.sum()), optimizer=f"{name}-optimizer")


def _own(
    run: Run, model: Language, rows: Sequence[tuple[str, list[int]]], weighing: Weighing
) -> list[list[float]]:
    """The model's log-probabilities of rows (prompt, ids), at the temperature they were sampled at, as a durable stage."""

    @torch.no_grad()
    def scored(shard: Sequence[int]) -> list[list[float]]:
        prompts, ids = [rows[at][0] for at in shard], [rows[at][1] for at in shard]
        logp, _ = _log_probs(model, prompts, ids, temperature=weighing.temperature)
        return [values[: len(each)] for values, each in zip(logp.tolist(), ids, strict=True)]

    return run.stage("weigh", scored, over=range(len(rows)), size=SHARD)


def _weighed(
    own: Sequence[list[float]],
    engine: Sequence[list[float]],
    logp_BT: Tensor,
    written: Tokens,
    weighing: Weighing,
) -> tuple[Tensor, dict[str, Tensor]]:
    return weighed(_padded(own, logp_BT), _padded(engine, logp_BT), written.authored, weighing.cap)


def _padded(rows: Sequence[list[float]], like_BT: Tensor) -> Tensor:
    """[B, T] numbers of rows, 0 behind each and cut to the width."""
    out = torch.zeros_like(like_BT)
    for row, values in enumerate(rows):
        values = values[: like_BT.shape[1]]
        out[row, : len(values)] = like_BT.new_tensor(values)
    return out


def _log_probs(
    model: Language,
    prompts: Sequence[str],
    ids: Sequence[list[int]],
    run: Run | None = None,
    temperature: float = 1.0,
) -> tuple[Tensor, Tokens]:
    """([B, T] log-probabilities, completions) of rollouts as they were sampled; with a run, by its forward pass."""
    written = sampled(model, ids)
    forward = None if run is None else run.forward
    logp = completion_log_probs(
        model, model.prompts(list(prompts)), written, temperature=temperature, forward=forward
    )
    return logp, written
