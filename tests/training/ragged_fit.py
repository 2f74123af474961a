"""One global batch of 8 with ragged token masks: a contrast over all ranks, a token mean and a sequence mean.

Run as a script, ``FOLDER 8x0 8x2``, it trains a few steps for every ``BATCHxMICRO`` (micro-batches; 0: whole batches), and writes the
final weights and the losses into a folder of that name; ``torchrun`` may start several.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from counterpoint.objectives.reduction import Loss
from counterpoint.training import Optimizer, Run

GENERATOR = torch.Generator().manual_seed(1)
TOKENS = torch.randn(16, 6, 5, generator=GENERATOR, dtype=torch.float64)
LENGTHS = torch.tensor([6, 1, 3, 2, 5, 1, 1, 4, 6, 2, 2, 3, 1, 5, 4, 1])
MASK = (torch.arange(6)[None] < LENGTHS[:, None]).double()


class Rows:
    """Tokens [16, 6, 5] and their masks."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return TOKENS[index], MASK[index]


def fit(run: Run, steps_of: int = 8) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(3)
    model = run.state(model=nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double())
    run.optimize(model, Optimizer(name="sgd", momentum=0.0, learning_rate=0.01))
    losses = []
    for batch in run.batches(Rows(), steps_of, epochs=2):
        tokens, mask = batch.items
        hidden = run.forward(model, tokens + 0.1 * batch.random.normal(6, 5).double())
        z = (hidden * mask[..., None]).sum(1)
        similarity = z @ run.gather(z).T
        mine = run.row_offset + torch.arange(z.shape[0])
        contrast = torch.logsumexp(similarity, 1) - similarity.gather(1, mine[:, None])[:, 0]
        token = (hidden.square().sum(-1) * mask).sum(1)
        per_sequence = (hidden.abs().sum(-1) * mask).sum(1) / mask.sum(1)
        losses.append(
            run.step(
                {
                    "contrast": contrast,
                    "token": Loss(token, counts=mask.sum(1)),
                    "sequence": Loss(per_sequence, weight=0.5),
                }
            )
        )
    return model, losses


if __name__ == "__main__":
    for name in sys.argv[2:]:
        size, micro = map(int, name.split("x"))
        out = Path(sys.argv[1]) / name
        with Run(out / "run", micro_batch_size=micro or None, progress=False) as run:
            trained, seen = fit(run, size)
            if run.rank == 0:
                weights = {k: v.tolist() for k, v in trained.state_dict().items()}
                (out / "result.json").write_text(
                    json.dumps({"world": run.world, "losses": seen, "weights": weights})
                )
