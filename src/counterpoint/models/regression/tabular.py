"""An encoder of table rows, and the number that a linear head reads off any encoder's features."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.model_folders import Saved, state


class ReadsRows(Saved):
    """What an encoder of a table's rows knows of the columns it learnt from.

    Args:
        columns: their names, in order.
        encoding: how a file's columns become these (``data.regression.columns``), so that rows read later are read alike.
    """

    def __init__(self, columns: Sequence[str], encoding: Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.encoding = None if encoding is None else list(encoding)
        self.source: Tensor | None = None
        self.columns = tuple(columns)

    def reading(self, columns: Sequence[str]) -> Self:
        """Read rows of these columns from now on: another order, or without some of the categories that training saw.

        Raises:
            CounterpointError: a number is missing, or there are columns that training did not see.
        """
        categories = {
            f"{one['name']}={value}" for one in self.encoding or () for value in one.get("values") or ()
        }
        missing = [name for name in self.columns if name not in columns and name not in categories]
        strange = [name for name in columns if name not in self.columns]
        if missing or strange:
            raise CounterpointError(
                f"the model learnt from other columns than this data has ({', '.join((missing + strange)[:3])}); read the data as "
                "the model does: --data-option columns_of=FOLDER, or give the columns it learnt from"
            )
        index_of = {name: number for number, name in enumerate(columns)}
        places = [index_of.get(name, len(columns)) for name in self.columns]
        self.source = None if places == list(range(len(columns))) else torch.tensor(places)
        return self

    def arranged(self, rows: Tensor) -> Tensor:
        """[N, columns of the data] -> [N, own columns].

        Raises:
            CounterpointError: rows of another width.
        """
        if self.source is not None:
            # A category that this data does not know is 0 in every row.
            rows = torch.cat([rows, rows.new_zeros(len(rows), 1)], 1)[:, self.source.to(rows.device)]
        if rows.shape[1:] != (len(self.columns),):
            raise CounterpointError(
                f"rows of shape {tuple(rows.shape[1:])} for an encoder of {len(self.columns)} columns; give the columns it learnt from"
            )
        return rows


class TableEncoder(ReadsRows):
    """``Linear -> BatchNorm or LayerNorm -> ReLU`` layers over standardised columns.

    Args:
        columns: names of the columns, in order.
        mean, std: per column, of the training rows.
        widths: of the layers; the last is the features' width.
        norm: "batch", or "layer", which lets micro-batches see exactly what one batch would.
        encoding: how a file's columns become these (``data.regression.columns``), so that rows read later are read alike.

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
        encoding: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(columns, encoding)
        self.num_features = widths[-1]
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        layers: list[nn.Module] = []
        for before, after in zip((len(self.columns), *widths), widths, strict=False):
            normalise = nn.BatchNorm1d(after) if norm == "batch" else nn.LayerNorm(after)
            layers += [nn.Linear(before, after), normalise, nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """[N, columns] -> [N, F]."""
        return self.body((self.arranged(rows) - self.get_buffer("mean")) / self.get_buffer("std"))


class Predictor(nn.Module):
    """An encoder with a linear head that reads a number off its features: calling it gives features, ``predict=True`` numbers.

    ``offset`` and ``scale`` turn the head's output, of mean 0 and deviation 1, into targets; ``unit`` is how the data holds
    its targets (offset and scale of ``data.regression.Regression``), stored so that other data is predicted in its own.
    """

    def __init__(
        self,
        encoder: nn.Module,
        offset: float = 0.0,
        scale: float = 1.0,
        unit: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.encoder, self.unit = encoder, unit
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

    def in_unit(self, offset: float, scale: float) -> Predictor:
        """Predict targets as other data holds them: (target - offset) / scale."""
        if (offset, scale) != self.unit:
            before, size = self.unit
            old = float(self.get_buffer("offset")) * size + before
            self.get_buffer("offset").fill_((old - offset) / scale)
            self.get_buffer("scale").mul_(size / scale)
            self.unit = (offset, scale)
        return self

    @property
    def reading(self) -> Callable[[Sequence[str]], Any] | None:
        """The encoder's ``reading``; None where it reads no rows."""
        return getattr(self.encoder, "reading", None)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the head's in ``head/``."""
        encoder: Any = self.encoder
        encoder.save_pretrained(folder)
        self.save_head(Path(folder) / "head")
        state(folder, self)

    def save_head(self, folder: Path) -> None:
        """Write the head as safetensors beside an encoder: weight [F], bias [1], offset and scale."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()},
            folder / "model.safetensors",
        )
        described: dict[str, Any] = {"architecture": "Predictor", "num_features": self.num_features}
        if self.unit != (0.0, 1.0):
            described["unit"] = list(self.unit)
        (folder / "config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")

    def load_head(self, folder: Path) -> Predictor:
        """Read what ``save_head`` wrote; return the predictor."""
        from safetensors.torch import load_file

        self.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        offset, scale = described.get("unit", (0.0, 1.0))
        self.unit = (float(offset), float(scale))
        return self
