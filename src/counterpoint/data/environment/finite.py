"""Worlds to act in: finite ones with tables (a combination lock, random low-rank games) and any gymnasium environment.

Legend: S states, A and B actions of the two players (B = 1 alone), X = S A B pairs with index (s A + a) B + b, H steps of an
episode, n episodes played side by side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Tables:
    """What a finite world does: ``transition`` [H or 1, X, S], ``reward`` [H, X], ``start`` [S]."""

    transition: Tensor
    reward: Tensor
    start: Tensor


@dataclass(frozen=True)
class Play:
    """Episodes: ``states`` [n, H + 1], ``actions`` [n, H] (joint, a B + b), ``rewards`` [n, H]."""

    states: Tensor
    actions: Tensor
    rewards: Tensor


class Simulator(Protocol):
    """Plays episodes of a finite world."""

    def __call__(self, policy: Tensor, uniform_from: Tensor, generator: torch.Generator) -> Play:
        """Play n episodes, uniform in the two steps from ``uniform_from`` [n], else by ``policy`` [H, S, A B]."""
        ...


@dataclass(frozen=True)
class FiniteWorld:
    """A world of finitely many states and actions.

    Attributes:
        reward: [H, X] where the learner may know it, else None and it is estimated.
        tables: exact dynamics where known; used to measure, never to learn.
        stationary: whether dynamics are the same at every step.
        latent: [S] the true feature of each state where known (for an upper bound to compare with).
        end: the state in which an episode that is over stays, if there is one.
        rank: a dimension in which the transitions factor, or a guess.
        code: sha256 of the module of a person's own environment, "" of others.
    """

    name: str
    states: int
    actions: int
    horizon: int
    play: Simulator
    opponents: int = 1
    reward: Tensor | None = None
    tables: Tables | None = None
    stationary: bool = False
    latent: Tensor | None = None
    end: int | None = None
    rank: int = 3
    notes: tuple[str, ...] = ()
    code: str = ""

    @property
    def train(self) -> FiniteWorld:
        """The world itself: acting is its data. Validation and test differ in the seeds of measured episodes."""
        return self

    validation = test = train

    @property
    def size(self) -> int:
        """Number of states."""
        return self.states

    def describe(self) -> list[str]:
        """What was understood, a sentence a line."""
        players = (
            f"{self.actions} actions"
            if self.opponents == 1
            else f"{self.actions} and {self.opponents} actions of two players"
        )
        rewards = "rewards known" if self.reward is not None else "rewards estimated from play"
        exact = "measured exactly" if self.tables is not None else "measured on played episodes"
        return [
            f"{self.name}: {self.states} states, {players}, {self.horizon} steps an episode; {rewards}; {exact}",
            *self.notes,
        ]

    def fingerprint(self) -> str:
        """Sha256 of the sizes, of a person's own code and, where known, of the tables."""
        digest = hashlib.sha256(
            f"{self.name} {self.states} {self.actions} {self.opponents} {self.horizon}{self.code}".encode()
        )
        if self.tables is not None:
            for tensor in (self.tables.transition, self.tables.reward, self.tables.start):
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TableSimulator:
    """Plays from tables, all episodes at once."""

    tables: Tables
    joint_actions: int

    def __call__(self, policy: Tensor, uniform_from: Tensor, generator: torch.Generator) -> Play:
        """See ``Simulator``."""
        horizon, count = len(self.tables.reward), len(uniform_from)
        state = draw(self.tables.start.expand(count, -1), generator)
        states, actions, rewards = [state], [], []
        for step in range(horizon):
            free = uniform_from.eq(step) | uniform_from.eq(step - 1)
            chances = torch.where(free[:, None], 1.0 / self.joint_actions, policy[step, state])
            action = draw(chances, generator)
            pair = state * self.joint_actions + action
            state = draw(self.tables.transition[step, pair], generator)
            states.append(state)
            actions.append(action)
            rewards.append(self.tables.reward[step, pair])
        return Play(torch.stack(states, 1), torch.stack(actions, 1), torch.stack(rewards, 1).float())


def draw(chances: Tensor, generator: torch.Generator) -> Tensor:
    """[n] one position per row of probabilities [n, C].

    >>> draw(torch.eye(3)[[2, 0]], torch.Generator().manual_seed(0)).tolist()
    [2, 0]
    """
    edges = chances.double().cumsum(-1)
    threshold = torch.rand(len(chances), 1, generator=generator, dtype=torch.float64) * edges[:, -1:]
    return (edges <= threshold).sum(-1).clamp(max=chances.shape[-1] - 1)


def load_lock(horizon: int = 5, actions: int = 4, emissions: int = 3, seed: int = 0) -> FiniteWorld:
    """Build a combination lock: two good latent states and a dead one, each seen as one of several observations.

    In a good state one action (another in each step and state) keeps to the good ones, all others lead to the dead one for
    good. The only reward, 1, is for the right action in the last step: uniform play earns it ``actions ** -horizon`` of the time.
    """
    if min(horizon, actions, emissions) < 1:
        raise CounterpointError(
            f"lock: horizon={horizon}, actions={actions}, emissions={emissions}: all at least 1"
        )
    generator = torch.Generator().manual_seed(seed)
    right = torch.randint(actions, (horizon, 2), generator=generator)
    states = 3 * emissions
    latent = torch.arange(states) // emissions
    emit = torch.zeros(3, states, dtype=torch.float64)
    emit[latent, torch.arange(states)] = 1.0 / emissions
    good = emit[:2].mean(0)
    transition = emit[2].expand(horizon, states * actions, states).clone()
    reward = torch.zeros(horizon, states * actions, dtype=torch.float64)
    for step in range(horizon):
        for state in range(2 * emissions):
            pair = state * actions + int(right[step, latent[state]])
            transition[step, pair] = good
            if step == horizon - 1:
                reward[step, pair] = 1.0
    tables = Tables(transition, reward, good)
    return FiniteWorld(
        name="lock", states=states, actions=actions, horizon=horizon, play=TableSimulator(tables, actions),
        reward=reward, tables=tables, latent=latent, rank=3,
    )  # fmt: skip


def load_game(
    states: int = 4,
    actions: int = 2,
    opponents: int = 2,
    horizon: int = 3,
    rank: int = 3,
    sharpness: float = 0.3,
    seed: int = 0,
) -> FiniteWorld:
    """Draw a zero-sum game at random: each pair mixes ``rank`` distributions over next states; rewards are uniform.

    Args:
        states: of the game. actions: of the first player. opponents: actions of the second.
        horizon: steps of an episode. rank: distributions that every pair mixes.
        sharpness: concentration of the mixtures and distributions; small ones make some states hard to reach.
        seed: of the game.
    """
    if min(states, actions, opponents, horizon, rank) < 1:
        raise CounterpointError("game: states, actions, opponents, horizon and rank are all at least 1")
    generator = torch.Generator().manual_seed(seed)

    def simplex(*shape: int) -> Tensor:
        noise = torch.rand(*shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1).log().neg()
        drawn = noise ** (1 / sharpness)
        return drawn / drawn.sum(-1, keepdim=True)

    pairs = states * actions * opponents
    transition = simplex(horizon, pairs, rank) @ (0.9 * simplex(horizon, rank, states) + 0.1 / states)
    reward = torch.rand(horizon, pairs, generator=generator, dtype=torch.float64)
    start = torch.zeros(states, dtype=torch.float64)
    start[0] = 1.0
    tables = Tables(transition, reward, start)
    return FiniteWorld(
        name="game", states=states, actions=actions, opponents=opponents, horizon=horizon,
        play=TableSimulator(tables, actions * opponents), reward=reward, tables=tables, rank=rank,
    )  # fmt: skip
