"""A variational autoencoder of trajectories: the self-supervised representation that SIRL is compared with.

``L = 1/2 |x - decode(z)|^2 + beta KL(q(z|x) || N(0, 1))``, z drawn from q (arXiv 1312.6114, eq. 10). The mean of q is the
embedding; it asks nobody anything, so it keeps what varies most, wanted or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from counterpoint.data.trajectories.sets import TrajectoryData
from counterpoint.evaluation.reward import learn_reward
from counterpoint.methods.base import Method, Search
from counterpoint.models.trajectories.encoder import TrajectoryEncoder, perceptron
from counterpoint.objectives.control.variational import gaussian_kl, squared_error
from counterpoint.objectives.reduction import Loss
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class TrajectoryVAE(Method[TrajectoryEncoder, TrajectoryData]):
    """Settings of the autoencoder; ``beta`` weighs the divergence from the prior. ``ridge``: of a reward from preferences."""

    key: ClassVar[str] = "trajectory-vae"
    search: ClassVar[Search] = {
        "beta": [0.01, 0.1, 1.0],
        "learning_rate": (3e-4, 3e-3),
    }

    beta: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 150
    ridge: float = 1.0

    def fit(self, model: TrajectoryEncoder, data: TrajectoryData, run: Run) -> TrajectoryEncoder:
        """Reconstruct the training trajectories."""
        model = model.standardised_by(data.train.inputs)
        parts = run.state(parts=Autoencoder(model))
        run.optimize(parts, Optimizer(name="adam", learning_rate=self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            x = parts.encoder.scaled(batch.items)
            mean, log_variance, reconstructed = run.forward(parts, x, batch.random.normal(model.dimension))
            run.step(
                {
                    "reconstruction": squared_error(x, reconstructed),
                    "prior": Loss(gaussian_kl(mean, log_variance), weight=self.beta),
                }
            )
        if len(data.train.preferences):
            run.once("reward", lambda: learn_reward(parts.encoder, data, self.ridge))
        return parts.encoder


class Autoencoder(nn.Module):
    """The encoder's mean, a head for the log-variance, and a mirrored decoder."""

    def __init__(self, encoder: TrajectoryEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        hidden, inputs, dimension = encoder.hidden, encoder.inputs, encoder.dimension
        self.spread = perceptron((inputs, hidden[0], dimension), encoder.seed + 1)
        self.decoder = perceptron((dimension, *reversed(hidden), inputs), encoder.seed + 2)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log-variance and reconstruction of standardised inputs [B, M], with standard normal noise [B, D]."""
        mean, log_variance = self.encoder.network(x), self.spread(x).clamp(-10, 10)
        return mean, log_variance, self.decoder(mean + (0.5 * log_variance).exp() * noise)
