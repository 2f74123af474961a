"""Plays episodes of a vector world: one after another while learning, side by side when measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.environment.gymnasium import VectorWorld

Choice = Callable[[Tensor], Tensor]
"""Observations [n, W] -> actions [n]."""


def play_steps(world: VectorWorld, choose: Choice, at_least: int, seed: int) -> dict[str, Tensor]:
    """Whole episodes until there are ``at_least`` steps.

    Returns:
        ``observation`` [T, W], ``action`` [T], ``reward`` [T], ``done`` [T] (ended by the environment) and ``cut`` [T] (by time).
    """
    env = world.make()
    rows: dict[str, list[object]] = {name: [] for name in ("observation", "action", "reward", "done", "cut")}
    episode = 0
    while len(rows["action"]) < at_least:
        seen, _ = env.reset(seed=(seed + episode) % 2**31)
        episode += 1
        for step in range(world.horizon):
            observation = world.vector(seen)
            action = int(choose(torch.from_numpy(observation)[None]))
            seen, reward, done, cut, _ = env.step(action + int(env.action_space.start))
            cut = bool(cut or step == world.horizon - 1) and not done
            for name, value in zip(rows, (observation, action, float(reward), bool(done), cut)):
                rows[name].append(value)
            if done or cut:
                break
    env.close()
    result = {name: torch.as_tensor(np.array(values)) for name, values in rows.items()}
    return result | {"reward": result["reward"].float()}


def mean_return(world: VectorWorld, choose: Choice, episodes: int, seed: int) -> float:
    """Mean undiscounted return of episodes played side by side."""
    envs = [world.make() for _ in range(episodes)]
    seen = [env.reset(seed=(seed + number) % 2**31)[0] for number, env in enumerate(envs)]
    going, total = list(range(episodes)), np.zeros(episodes)
    for _ in range(world.horizon):
        if not going:
            break
        batch = torch.from_numpy(np.stack([world.vector(seen[i]) for i in going]))
        left = []
        for i, action in zip(going, choose(batch).tolist()):
            seen[i], reward, done, cut, _ = envs[i].step(action + int(envs[i].action_space.start))
            total[i] += float(reward)
            if not (done or cut):
                left.append(i)
        going = left
    for env in envs:
        env.close()
    return float(total.mean())
