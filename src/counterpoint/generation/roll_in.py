"""Plays a finite world for learning: rows of transitions that cover what the policy reaches and one free step more.

Legend: S states, A and B actions, X = S A B pairs, H steps of an episode, J transitions kept of each step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.environment.finite import FiniteWorld


def example_row(data: FiniteWorld) -> dict[str, Tensor]:
    """A row of the replay: the transitions that one round adds, [steps, J] of each thing."""
    shape = (data.horizon, 1 if data.stationary else 2)
    index, number = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    return {"pair": index, "state": index, "valid": number, "reward": number}


@torch.no_grad()
def roll_in(first: Tensor, second: Tensor, data: FiniteWorld, epsilon: float = 0.0) -> dict[str, Tensor]:
    """One round's play of the players' policies [H, S, A] and [H, S, B], with a share ``epsilon`` of uniform actions.

    For every step h an episode follows the policy up to h and acts uniformly in h and h + 1; its transitions at these two
    steps are kept (column 0 of J is the first of them, which the bonus counts). A stationary world needs no such care: one
    episode a round, uniform in two steps at random, is kept whole.
    """
    generator = torch.default_generator
    joint = data.actions * data.opponents
    policy = (first[..., :, None] * second[..., None, :]).flatten(-2)
    policy = (1 - epsilon) * policy + epsilon / joint
    steps = torch.arange(data.horizon)
    free = torch.randint(data.horizon, (1,), generator=generator) if data.stationary else steps
    played = data.play(policy, free, generator)
    pairs = played.states[:, :-1] * joint + played.actions
    whole = {"pair": pairs, "state": played.states[:, 1:], "reward": played.rewards}
    if data.stationary:
        row = {name: value[0, :, None] for name, value in whole.items()}
        going = (
            torch.ones(data.horizon, 1)
            if data.end is None
            else (played.states[0, :-1, None] != data.end).float()
        )
        return {name: value[None] for name, value in {**row, "valid": going}.items()}
    own, before = (
        steps,
        (steps - 1).clamp(min=0),
    )  # step h of its own episode, and of the one that was free from h - 1
    row = {name: torch.stack([value[own, steps], value[before, steps]], -1) for name, value in whole.items()}
    valid = torch.ones(data.horizon, 2)
    valid[0, 1] = 0.0
    return {name: value[None] for name, value in {**row, "valid": valid}.items()}


def mean_reward(seen: dict[str, Tensor], data: FiniteWorld) -> Tensor:
    """[H, X] mean reward of every pair played so far, 0 where there was none."""
    pairs = data.states * data.actions * data.opponents
    steps = torch.arange(data.horizon)[:, None].expand(seen["pair"].shape)
    cell = (torch.zeros_like(steps) if data.stationary else steps) * pairs + seen["pair"]
    count, total = (torch.zeros(data.horizon * pairs, dtype=torch.float64) for _ in range(2))
    count.index_add_(0, cell.flatten(), seen["valid"].double().flatten())
    total.index_add_(0, cell.flatten(), (seen["valid"] * seen["reward"]).double().flatten())
    mean = (total / count.clamp(min=1)).view(data.horizon, pairs)
    return mean[:1].expand(data.horizon, -1) if data.stationary else mean
