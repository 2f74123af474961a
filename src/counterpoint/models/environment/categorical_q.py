"""Action values as distributions on fixed atoms, with a latent model that predicts its own future (SPR-UCB's network).

Dueling noisy heads (arXiv 1511.06581, 1706.10295) on a latent rescaled to [0, 1]; a transition network moves the latent
along actions. For observations that are vectors.

Legend: B items, W numbers of an observation, A actions, P atoms, D latent dimensions, K jumps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot

from counterpoint.models.model_folders import Saved
from counterpoint.models.trajectories.encoder import perceptron


class NoisyLinear(nn.Module):
    """A linear layer with learnt factorised noise; the noise is a buffer, drawn anew by ``renoise``."""

    row: Tensor
    column: Tensor

    def __init__(self, inputs: int, outputs: int, sigma: float = 0.5) -> None:
        super().__init__()
        edge = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-edge, edge))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-edge, edge))
        self.weight_noise = nn.Parameter(torch.full((outputs, inputs), sigma * edge))
        self.bias_noise = nn.Parameter(torch.full((outputs,), sigma * edge))
        self.register_buffer("row", torch.zeros(outputs))
        self.register_buffer("column", torch.zeros(inputs))

    def renoise(self) -> None:
        """Draw new noise from torch's global stream, which the run seeds."""
        for buffer in (self.row, self.column):
            drawn = torch.randn(buffer.shape)
            buffer.copy_(drawn.sign() * drawn.abs().sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Noisy in training mode, the mean in evaluation mode."""
        if not self.training:
            return linear(x, self.weight, self.bias)
        noise = self.row[:, None] * self.column
        return linear(x, self.weight + self.weight_noise * noise, self.bias + self.bias_noise * self.row)


class CategoricalQ(Saved):
    """The network.

    Args:
        width, actions: W, A.
        atoms, low, high: P atoms evenly from ``low`` to ``high``.
        hidden, latent: widths.
        seed: of the initialisation.

    Attributes:
        support: [P] the atoms. mean, deviation: [W] scale of the observations.
    """

    support: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int,
        actions: int,
        atoms: int = 51,
        low: float = -10.0,
        high: float = 10.0,
        hidden: int = 256,
        latent: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.actions, self.atoms, self.latent = width, actions, atoms, latent
        self.low, self.high, self.hidden, self.seed = low, high, hidden, seed
        self.register_buffer("support", torch.linspace(low, high, atoms))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.trunk = perceptron((width, hidden, latent), seed)
        self.transition = perceptron((latent + actions, hidden, latent), seed + 1)
        self.project = perceptron((latent, latent), seed + 2)
        self.predict = perceptron((latent, latent), seed + 3)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 4)
            self.value = nn.Sequential(NoisyLinear(latent, hidden), nn.ReLU(), NoisyLinear(hidden, atoms))
            self.advantage = nn.Sequential(
                NoisyLinear(latent, hidden), nn.ReLU(), NoisyLinear(hidden, actions * atoms)
            )

    @property
    def size(self) -> int:
        """Numbers of an observation."""
        return self.width

    def renoise(self) -> None:
        """Draw new exploration noise."""
        for module in (*self.value, *self.advantage):
            if isinstance(module, NoisyLinear):
                module.renoise()

    def encode(self, observation: Tensor) -> Tensor:
        """[..., D] latents in [0, 1] of observations [..., W]."""
        return _unit(self.trunk((observation - self.mean) / self.deviation).relu())

    def logits(self, latent: Tensor) -> Tensor:
        """[..., A, P] of latents [..., D]."""
        value = self.value(latent).unsqueeze(-2)
        advantage = self.advantage(latent).unflatten(-1, (self.actions, self.atoms))
        return value + advantage - advantage.mean(-2, keepdim=True)

    def forward(self, observation: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, A, P] at observations [B, W], and predictions [B, K, D] after each of the actions [B, K]."""
        latent = self.encode(observation)
        logits, ahead = self.logits(latent), []
        for move in one_hot(actions, self.actions).to(latent).unbind(1):
            latent = _unit(self.transition(torch.cat([latent, move], -1)).relu())
            ahead.append(latent)
        if not ahead:
            return logits, latent.new_zeros(len(latent), 0, self.latent)
        # By the submodule's name: an opened model's attribute ``predict`` answers rows (``counterpoint.load``).
        return logits, self._modules["predict"](self.project(torch.stack(ahead, 1)))  # type: ignore[misc]

    def values(self, observation: Tensor) -> Tensor:
        """[..., A] expected values."""
        return (self.logits(self.encode(observation)).softmax(-1) * self.support).sum(-1)


def _unit(latent: Tensor) -> Tensor:
    low = latent.amin(-1, keepdim=True)
    span = latent.amax(-1, keepdim=True) - low
    return (latent - low) / span.where(span > 0, 1.0)
