"""Regression: tables or images with a numeric target; errors in its units, and the order of the representation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from counterpoint.data.regression import sets as regression_sets
from counterpoint.data.regression.load import load_regression
from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.measurement import measured
from counterpoint.evaluation.regression import MEASUREMENTS
from counterpoint.kernels.spread import units
from counterpoint.models.folders import configuration
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.regression.folder import FOLDERS
from counterpoint.models.regression.tabular import TableEncoder
from counterpoint.tasks.options import checked_load


class RegressionTask:
    """The kind "regression": see ``data.regression.load_regression`` for the options of ``load_data``."""

    kind = "regression"
    primary = "r2"
    default_model = "default"
    lower_is_better = ("mae", "rmse", "rare_mae", "probe_mae", "probe_rare_mae")
    measurements = MEASUREMENTS

    def load_data(self, spec: str, **options: Any) -> Regression:
        """Load a bundled name or a path; options as values or as text."""
        own = spec in regression_sets.BUNDLED and not Path(spec).exists()
        load = regression_sets.load if own else load_regression
        return checked_load(load, spec, options, spec)

    def reading(self, data: Regression) -> dict[str, Any]:
        """Channels, height and width of images; of a table the model itself knows its columns."""
        shape = {} if data.columns else {"shape": list(data.train.inputs.shape[1:])}
        return {"kind": "regression", **shape}

    def load_model(self, spec: str, data: Regression, seed: int) -> nn.Module:
        """Build "mlp" (or "mlp:layer") for tables or "conv-small" for images, or open a folder; "default" chooses by the data."""
        folder = Path(spec)
        table = bool(data.columns)
        if spec == "default":
            spec = "mlp" if table else "conv-small"
        if table and spec in ("mlp", "mlp:layer"):
            mean, std = data.train.inputs.mean(0), data.train.inputs.std(0)
            std = units(data.train.inputs, std)  # a constant column stays what it is
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                norm = "layer" if spec.endswith("layer") else "batch"
                encoding = [column.described() for column in data.encoding]
                stored: dict[str, Any] = {"encoding": encoding} if encoding else {}
                return TableEncoder(
                    data.columns,
                    mean.tolist(),
                    std.tolist(),
                    norm=norm,
                    **stored,
                )
        if (folder / "config.json").exists():
            return _for_data(FOLDERS.open(folder), data, folder)
        if table:
            raise CounterpointError(
                f"no model '{spec}' for tables; expected mlp, mlp:layer, or a saved folder"
            )
        shape = tuple(data.train.inputs.shape[1:])
        pixels = data.train.inputs.double() / 255
        statistics = pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3)).clamp(min=1e-3).tolist()
        name, _, norm_name = spec.partition(":")
        options = {"norm": norm_name} if norm_name else {}
        return load_encoder(name, shape, statistics=statistics, seed=seed, **options)  # type: ignore[arg-type]

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the encoder as an ordinary folder; a head goes to ``head/`` inside."""
        FOLDERS.save(model, folder)

    def evaluate(self, model: nn.Module, data: Regression, split: str, seed: int = 0) -> dict[str, float]:
        """Measure predictions and features; see ``evaluation.regression``."""
        return measured(self.measurements, model, data, split, seed)


def _for_data(model: nn.Module, data: Regression, folder: Path) -> nn.Module:
    """A saved model that reads this data's columns and predicts in its unit.

    Raises:
        CounterpointError: a model of rows for images, or the other way round; other columns, or columns in another encoding.
    """
    reading = getattr(model, "reading", None)  # of what reads rows
    if (reading is None) == bool(data.columns):
        what = "tables" if data.columns else "images"
        raise CounterpointError(
            f"{folder} holds no model for {what}; expected a folder that a run on {what} wrote"
        )
    if reading is not None:
        _check_encoding(configuration(folder).get("encoding"), data, folder)
        reading(data.columns)
    in_unit = getattr(model, "in_unit", None)  # of what has a head
    return model if in_unit is None else cast(nn.Module, in_unit(data.offset, data.scale))


def _check_encoding(stored: list[dict[str, Any]] | None, data: Regression, folder: Path) -> None:
    """A number means the same to a saved model and to the data: gaps and large numbers were read alike.

    Raises:
        CounterpointError: the data's gaps were filled with another mean, or its numbers are held in another unit.
    """
    own = {column.name: column for column in data.encoding}
    for described in stored or ():
        column = own.get(described["name"])
        if column is None or column.values is not None or "values" in described:
            continue
        unit = (column.offset, column.scale) != (described["offset"], described["scale"])
        filled = column.name in data.filled and column.fill != described["fill"]
        if unit or filled:
            what = "holds its numbers in another unit" if unit else "has gaps, filled with its own mean"
            raise CounterpointError(
                f"column '{column.name}' of {data.name} {what} than the model in {folder} learnt; read the data as the model does: "
                f"--data-option columns_of={folder}"
            )


TASK = RegressionTask()
