"""The bandit's policy before preference learning: a tiny model that writes actions as they are in the logged data.

Whatever the context, each next action follows ``data.language.bandits.logged``: what supervised training on logged data gives. Where
its probability goes in training can be read off exactly. Taught in a few seconds on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import string

import torch
from torch import Tensor

from counterpoint.data.language import bandits
from counterpoint.data.language.problem import Problem
from counterpoint.kernels.evaluating import evaluating
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.stored import stored

LONGEST = 9
"""Actions in a row that it learnt to write."""


def load(seed: int) -> Language:
    """Return the policy of a seed, taught now or taken from the cache."""
    identity = f"{seed}/{inspect.getsource(policy)}{inspect.getsource(bandits)}"
    return stored("bandits", f"bandit-{seed}", identity, lambda: policy(seed))


def policy(
    seed: int, *, steps: int = 400, batch_size: int = 32, learning_rate: float = 1e-2, width: int = 64
) -> Language:
    """Teach a fresh model; the same weights for the same seed.

    Args:
        seed: of the weights and the actions. steps, batch_size, learning_rate: of the training. width: of the hidden states.
    """
    model = tiny(
        seed=seed, layers=1, width=width, heads=2, length=64, alphabet=string.digits + bandits.ACTIONS
    )
    target_V, draw = torch.zeros(model.causal.config.vocab_size), torch.Generator().manual_seed(seed)
    target_V[_ids(model)] = torch.tensor(bandits.logged())
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1.0 - 0.95 * step / steps)
        contexts = torch.randint(10**4, (batch_size,), generator=draw).tolist()
        prompts = model.prompts([f"{number:04d}" for number in contexts])
        actions = torch.multinomial(target_V.expand(batch_size, -1), LONGEST - 1, True, generator=draw)
        logits = model.causal(torch.cat([prompts.ids, actions], 1)).logits[:, prompts.width - 1 :]
        loss = -(logits.log_softmax(-1) * target_V).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def action_probabilities(model: Language, problems: list[Problem]) -> Tensor:
    """[100], the probability of every first action, the mean over problems.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.data.language.problems import load
    >>> model = tiny(seed=0, alphabet="0123456789" + bandits.ACTIONS)
    >>> action_probabilities(model, list(load("bandit?size=3&validation=1&test=1").train)).shape
    torch.Size([100])
    """
    prompts = model.prompts([problem.prompt for problem in problems])
    with evaluating(model):
        logits, _ = model.decode(prompts.ids.to(model.device), prompts.mask.to(model.device), None)
    return logits.double().softmax(-1)[:, _ids(model)].mean(0).cpu()


def action_rewards(peak: int) -> Tensor:
    """[100], what every action earns."""
    return torch.tensor([bandits.bump(action, bandits.ACTIONS[peak]) for action in bandits.ACTIONS]).double()


def _ids(model: Language) -> Tensor:
    return torch.tensor(model.tokenizer.convert_tokens_to_ids(list(bandits.ACTIONS)))
