"""Any gymnasium environment as a world: states counted where observations are discrete (or cut into cells), else vectors.

An environment of one's own is named "module:Name-v0": importing the module, from the current folder too, registers it.

An environment is made anew for every call and seeded at every reset, so a world keeps no state of its own and a resumed run
plays the same episodes. A finite world gets one more state, in which an episode that has ended stays.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.environment.checked import Checked, counted
from counterpoint.data.environment.finite import FiniteWorld, Play, Tables
from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.imported import in_a_line

STEPS = 100
"""Steps of an episode where neither the environment nor the person names a limit."""
MOST = 100_000
"""The most steps that an episode may have: it is played to its end at once."""


@dataclass(frozen=True)
class VectorWorld:
    """A world whose observations are vectors, for deep methods.

    Attributes:
        make: builds a fresh environment. width: numbers of an observation. actions: how many. horizon: steps of an episode.
        state: place of the one in an observation that is counted, or None where observations are numbers already.
        notes: what was done besides, for ``describe``. code: sha256 of a person's own module, "" of others.
    """

    name: str
    make: Callable[[], Any]
    width: int
    actions: int
    horizon: int
    state: Callable[[Any], int] | None = None
    notes: tuple[str, ...] = ()
    code: str = ""

    def vector(self, seen: Any) -> np.ndarray:
        """[W] float32 of what an environment shows."""
        if self.state is None:
            return np.ravel(seen).astype(np.float32)
        row = np.zeros(self.width, dtype=np.float32)
        row[self.state(seen)] = 1.0
        return row

    @property
    def train(self) -> VectorWorld:
        """The world itself: acting is its data."""
        return self

    validation = test = train

    @property
    def size(self) -> int:
        """Numbers of an observation."""
        return self.width

    def describe(self) -> list[str]:
        """What was understood."""
        kind = "numbers" if self.state is None else "zeros and a one, which tells the state"
        return [
            f"{self.name}: observations of {self.width} {kind}, {self.actions} actions, at most {self.horizon} steps",
            *self.notes,
        ]

    def fingerprint(self) -> str:
        """Sha256 of the name and sizes, and of a person's own code."""
        sizes = (self.name, self.width, self.actions, self.horizon, *filter(None, [self.code]))
        return hashlib.sha256(repr(sizes).encode()).hexdigest()


def load_gymnasium(
    spec: str,
    horizon: int | None = None,
    bins: int | None = None,
    one_hot: bool = False,
    arguments: str | None = None,
) -> FiniteWorld | VectorWorld:
    """Open an environment by its gymnasium id ("FrozenLake-v1", "module:Name-v0").

    Args:
        horizon: steps of an episode; default the environment's own limit, or 100 where it has none.
        bins: cut every number of a vector observation into this many cells, which makes the world finite.
        one_hot: show a finite world's states as vectors of zeros and a one, for deep methods.
        arguments: of the environment, as JSON: '{"is_slippery": false}'.

    Raises:
        CounterpointError: no such id, something it needs is missing, or actions or observations fit no method.
    """
    try:
        import gymnasium
    except ImportError:
        raise MissingExtra("gymnasium", "rl") from None
    try:
        given = json.loads(arguments) if arguments else {}
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise CounterpointError(
            f"arguments={arguments!r}; expected a JSON object: '{{\"is_slippery\": false}}'"
        )

    def make() -> Any:
        return Checked(gymnasium.make(spec, **given), spec)

    env = _opened(spec, make)
    spaces = gymnasium.spaces
    if not isinstance(env.action_space, spaces.Discrete):
        raise CounterpointError(
            f"{spec} acts with {env.action_space}; these methods choose among finitely many actions: wrap it so that its "
            "action_space is Discrete"
        )
    limit, cut = _limit(spec, env, horizon)
    actions, first = int(env.action_space.n), int(env.action_space.start)
    space = env.observation_space
    if isinstance(space, spaces.Box) and (
        len(space.shape) > 2 or (len(space.shape) == 2 and space.dtype == np.uint8)
    ):
        raise CounterpointError(
            f"{spec} shows images {space.shape}; these methods take vectors of numbers or counted states: wrap it so that "
            'its observation_space is a Box of one axis (for Atari: --data-option arguments=\'{"obs_type": "ram"}\')'
        )
    if isinstance(space, spaces.Box) and bins is None:
        _try(env, first)
        return VectorWorld(spec, make, math.prod(space.shape), actions, limit, notes=cut, code=_code(env))
    count, index, notes = _states(env, space, bins)
    _try(env, first)
    notes += cut
    if one_hot:
        return VectorWorld(spec, make, count, actions, limit, index, cut, _code(env))
    simulator = GymnasiumSimulator(make, index, count, limit, first)
    return FiniteWorld(
        name=spec, states=count + 1, actions=actions, horizon=limit, play=simulator,
        tables=_tables(env, count, actions, limit) if isinstance(space, spaces.Discrete) else None,
        stationary=True, end=count, rank=min(count + 1, 16), notes=notes, code=_code(env),
    )  # fmt: skip


def _code(env: Any) -> str:
    """Sha256 of the file in which a person's own environment stands; "" for one that is installed, whose version is recorded."""
    module = sys.modules.get(type(env.unwrapped).__module__)
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file() or {"site-packages", "dist-packages"} & set(file.parts):
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _try(env: Any, action: int) -> None:
    """One step: what breaks gymnasium's contract at once is refused before anything is played."""
    env.reset(seed=0)
    env.step(action)


def _limit(spec: str, env: Any, horizon: int | None) -> tuple[int, tuple[str, ...]]:
    """Steps of an episode, and a line where nobody named them: a world that never ends would be played for ever."""
    if horizon is not None and not 1 <= horizon <= MOST:
        raise CounterpointError(f"horizon={horizon}: expected 1 to {MOST:,} steps of an episode")
    own = env.spec.max_episode_steps if env.spec else None
    if horizon is None and own and own > MOST:
        raise CounterpointError(
            f"{spec} lets an episode last {own:,} steps; name a limit of at most {MOST:,}: "
            "--data-option horizon=1000"
        )
    if horizon is not None:
        return horizon, ()
    if own:
        return int(own), ()
    return STEPS, (
        f"the environment names no limit of steps: an episode is cut after {STEPS}, or after N with --data-option horizon=N",
    )


def _opened(spec: str, make: Callable[[], Any]) -> Any:
    """The environment, or what is wrong in one line."""
    import gymnasium

    module = spec.partition(":")[0] if ":" in spec else ""
    if (
        module
        and (Path.cwd() / module.split(".")[0]).with_suffix(".py").is_file()
        and str(Path.cwd()) not in sys.path
    ):
        sys.path.append(str(Path.cwd()))  # a console command looks for modules beside itself only
    try:
        return make()
    except gymnasium.error.DependencyNotInstalled as error:
        raise CounterpointError(f"environment '{spec}' needs more: {str(error).splitlines()[0]}") from None
    except gymnasium.error.Error as error:
        hint = nearest(spec, list(gymnasium.registry))
        if not hint.startswith("did you"):  # the whole registry is no answer
            hint = "expected an id such as CartPole-v1, or module:Name-v0 for one of your own"
        raise CounterpointError(f"no environment '{spec}': {str(error).splitlines()[0]} {hint}") from None
    except ModuleNotFoundError as error:
        raise CounterpointError(
            f"environment '{spec}' could not be made: {str(error).splitlines()[0]}; expected 'module:Name-v0' with a module "
            "that registers Name-v0 and lies in the current folder or is installed"
        ) from None
    except Exception as error:  # whatever an environment of a person's own says
        raise CounterpointError(f"environment '{spec}' could not be made: {in_a_line(error)}") from None


@dataclass(frozen=True)
class GymnasiumSimulator:
    """Plays episodes one after another; a state ``count`` stands for the end."""

    make: Callable[[], Any]
    index: Callable[[Any], int]
    count: int
    horizon: int
    first_action: int

    def __call__(self, policy: Tensor, uniform_from: Tensor, generator: torch.Generator) -> Play:
        """See ``data.environments.Simulator``."""
        env, episodes = self.make(), len(uniform_from)
        states = torch.full((episodes, self.horizon + 1), self.count, dtype=torch.long)
        actions = torch.zeros(episodes, self.horizon, dtype=torch.long)
        rewards = torch.zeros(episodes, self.horizon)
        chances = policy.double().cumsum(-1)
        for episode, free in enumerate(uniform_from.tolist()):
            seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
            observation, _ = env.reset(seed=seed)
            draws = torch.rand(self.horizon, generator=generator, dtype=torch.float64)
            state = self.index(observation)
            for step in range(self.horizon):
                states[episode, step] = state
                if free <= step <= free + 1:
                    action = int(draws[step] * policy.shape[-1])
                else:
                    edges = chances[step, state]
                    action = min(int((edges <= draws[step] * edges[-1]).sum()), policy.shape[-1] - 1)
                observation, reward, ended, cut, _ = env.step(action + self.first_action)
                actions[episode, step], rewards[episode, step] = action, float(reward)
                state = self.count if ended else self.index(observation)
                states[episode, step + 1] = state
                if ended or cut:
                    break
        env.close()
        return Play(states, actions, rewards)


def _states(env: Any, space: Any, bins: int | None) -> tuple[int, Callable[[Any], int], tuple[str, ...]]:
    import gymnasium

    spaces = gymnasium.spaces
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return int(space.n), lambda seen: int(seen) - start, ()
    parts = counted(space)
    if parts:
        sizes, starts = zip(*parts, strict=True)
        return (
            math.prod(sizes),
            lambda seen: int(np.ravel_multi_index(tuple(int(v) for v in np.ravel(seen) - starts), sizes)),
            (),
        )
    if not isinstance(space, spaces.Box) or bins is None:
        raise CounterpointError(
            f"observations {space}: expected Discrete, MultiDiscrete, a Tuple of Discrete, or a Box; wrap the environment in "
            "gymnasium.wrappers.FlattenObservation where you register it"
        )
    width = math.prod(space.shape)
    if bins < 2 or bins**width > 20_000:
        raise CounterpointError(
            f"bins={bins} for {width} numbers makes {bins**width:,} cells; expected at least 2 bins and at most 20,000 cells, "
            "or no bins and a deep method (spr-ucb)"
        )
    edges = _edges(env, bins)

    def cell(seen: Any) -> int:
        index = 0
        for value, cuts in zip(np.ravel(seen), edges):
            index = index * bins + int(np.searchsorted(cuts, value))
        return index

    return (
        bins**width,
        cell,
        (f"observations cut into {bins} cells a number, at the quantiles of random play",),
    )


def _edges(env: Any, bins: int) -> list[np.ndarray]:
    """Inner edges of the cells of every number: quantiles of what random play sees, from a fixed seed."""
    steps = 2000
    draws = np.random.default_rng(0)
    seen = [np.ravel(env.reset(seed=0)[0])]
    for step in range(steps):
        action = int(draws.integers(env.action_space.n)) + int(env.action_space.start)
        observation, _, ended, cut, _ = env.step(action)
        if ended or cut:
            observation, _ = env.reset(seed=step + 1)
        seen.append(np.ravel(observation))
    return list(np.quantile(np.stack(seen), np.linspace(0, 1, bins + 1)[1:-1], axis=0).T)


def _tables(env: Any, count: int, actions: int, horizon: int) -> Tables | None:
    """Exact tables of the environments that publish theirs (``P`` and ``initial_state_distrib``), else None."""
    inner = env.unwrapped
    transitions, start = getattr(inner, "P", None), getattr(inner, "initial_state_distrib", None)
    if transitions is None or start is None or count * actions * count > 20_000_000:
        return None
    transition = torch.zeros(count + 1, actions, count + 1, dtype=torch.float64)
    reward = torch.zeros(count + 1, actions, dtype=torch.float64)
    transition[count, :, count] = 1.0
    for state in range(count):
        for action in range(actions):
            for chance, after, gain, ended in transitions[state][action]:
                transition[state, action, count if ended else int(after)] += chance
                reward[state, action] += chance * gain
    begin = torch.cat(
        [torch.as_tensor(np.asarray(start), dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    )
    return Tables(transition.flatten(0, 1)[None], reward.flatten().expand(horizon, -1), begin)
