"""An encoder of table rows, and the number that a linear head reads off any encoder's features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from counterpoint.errors import CounterpointError


class TableEncoder(nn.Module, PyTorchModelHubMixin):
    """``Linear -> BatchNorm or LayerNorm -> ReLU`` layers over standardised columns.

    Args:
        columns: names of the columns, in order.
        mean, std: per column, of the training rows.
        widths: of the layers; the last is the features' width.
        norm: "batch", or "layer", which lets micro-batches see exactly what one batch would.

    >>> TableEncoder(["a", "b"], [0.0, 0.0], [1.0, 1.0])(torch.zeros(3, 2)).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        columns: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        widths: Sequence[int] = (128, 64),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.columns, self.num_features = tuple(columns), widths[-1]
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        layers: list[nn.Module] = []
        for before, after in zip((len(self.columns), *widths), widths, strict=False):
            normalise = nn.BatchNorm1d(after) if norm == "batch" else nn.LayerNorm(after)
            layers += [nn.Linear(before, after), normalise, nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """[N, columns] -> [N, F]."""
        if rows.shape[1:] != (len(self.columns),):
            raise CounterpointError(
                f"rows of shape {tuple(rows.shape[1:])} for an encoder of {len(self.columns)} columns; give the columns it learnt from"
            )
        return self.body((rows - self.get_buffer("mean")) / self.get_buffer("std"))


class Predictor(nn.Module):
    """An encoder with a linear head that reads a number off its features: calling it gives features, ``predict=True`` numbers.

    ``offset`` and ``scale`` turn the head's output, of mean 0 and deviation 1, into targets.
    """

    def __init__(self, encoder: nn.Module, offset: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(int(encoder.num_features), 1)  # type: ignore[arg-type]
        self.register_buffer("offset", torch.tensor(offset))
        self.register_buffer("scale", torch.tensor(scale))

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return int(self.encoder.num_features)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, predict: bool = False) -> Tensor:
        """Inputs -> [N, F] features, or [N] predicted targets."""
        features = self.encoder(inputs)
        if not predict:
            return features
        return self.head(features)[:, 0] * self.get_buffer("scale") + self.get_buffer("offset")

    def save_head(self, folder: Path) -> None:
        """Write the head as safetensors beside an encoder: weight [F], bias [1], offset and scale."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()},
            folder / "model.safetensors",
        )
        described = {"architecture": "Predictor", "num_features": self.num_features}
        (folder / "config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")

    def load_head(self, folder: Path) -> Predictor:
        """Read what ``save_head`` wrote; return the predictor."""
        from safetensors.torch import load_file

        self.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        return self
