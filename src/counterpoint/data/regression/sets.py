"""The bundled data with numeric targets: a film's year by its audience, patients' measurements, turned garments."""

from __future__ import annotations

import numpy as np

from counterpoint.bundled.convert import data as bundled
from counterpoint.data.regression.load import build
from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError, nearest

BUNDLED = ("film-years", "garment-angles", "diabetes")


def load(
    name: str, *, limit: int | None = None, validation: float = 0.15, test: float = 0.2, seed: int = 0
) -> Regression:
    """Load a bundled data set; options as in ``load_regression``."""
    if name not in BUNDLED:
        raise CounterpointError(
            f"there is no bundled data '{name}' with numeric targets; {nearest(name, BUNDLED)}"
        )
    if name == "film-years":
        inputs, targets, columns, notes = _films()
    else:
        inputs, targets, columns, notes = _garments() if name == "garment-angles" else _diabetes()
    split = np.full(len(inputs), "train")
    return build(inputs, targets, split, columns, name, notes, limit, validation, test, seed)


def _films() -> tuple[np.ndarray, np.ndarray, tuple[str, ...], list[str]]:
    """Films with at least ``least`` ratings: one column per person (their rating, 0 for none) and one per genre."""
    least = 10
    import pyarrow.parquet as parquet

    folder = bundled.path("movielens-100k").parent
    ratings = parquet.read_table(folder / "interactions.parquet").to_pydict()
    films = parquet.read_table(folder / "items.parquet").to_pydict()
    year = {film: int(y) for film, y in zip(films["item"], films["year"], strict=True) if str(y).isdigit()}
    items, row, count = np.unique(ratings["item"], return_inverse=True, return_counts=True)
    users, column = np.unique(ratings["user"], return_inverse=True)
    table = np.zeros((len(items), len(users)), np.float32)
    table[row, column] = ratings["rating"]
    frequent = np.array([n for n, item in enumerate(items) if count[n] >= least and item in year])
    genres_of = dict(zip(films["item"], films["genres"], strict=True))
    genres = sorted({genre for of in genres_of.values() for genre in of})
    flags = np.array([[genre in genres_of[items[n]] for genre in genres] for n in frequent], np.float32)
    names = (*(f"user {user}" for user in users), *genres)
    targets = np.array([year[items[n]] for n in frequent], np.float32)
    left = len(items) - len(frequent)
    return (
        np.concatenate([table[frequent], flags], 1),
        targets,
        names,
        [f"{left} films with fewer than {least} ratings left out"],
    )


def _garments() -> tuple[np.ndarray, np.ndarray, tuple[str, ...], list[str]]:
    """As many of each of ten kinds, turned by whole degrees: normal about upright, so that large angles are rare."""
    count = 2000
    spread = 25.0
    most = 75.0
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    with np.load(bundled.path("fashion-mnist"), allow_pickle=False) as file:
        pixels, kinds = file["x_train"], file["y_train"]
    drawn = np.random.default_rng(0)
    chosen = np.concatenate([np.flatnonzero(kinds == kind)[: count // 10] for kind in range(10)])
    degrees = np.clip(drawn.normal(0, spread, count), -most, most).round().astype(np.float32)
    turn = torch.from_numpy(np.deg2rad(degrees))
    still = torch.zeros_like(turn)
    theta = torch.stack([turn.cos(), -turn.sin(), still, turn.sin(), turn.cos(), still], 1).view(-1, 2, 3)
    images = torch.from_numpy(pixels[chosen][:, None]).float()
    turned = grid_sample(
        images, affine_grid(theta, list(images.shape), align_corners=False), align_corners=False
    )
    return (
        turned.round().byte().numpy(),
        degrees,
        (),
        ["targets are degrees, positive where the garment leans to the left"],
    )


def _diabetes() -> tuple[np.ndarray, np.ndarray, tuple[str, ...], list[str]]:
    from sklearn.datasets import load_diabetes

    dataset = load_diabetes()
    return dataset.data.astype(np.float32), dataset.target, tuple(dataset.feature_names), []
