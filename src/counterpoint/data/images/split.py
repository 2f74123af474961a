"""Which images are trained on and which are measured: named splits kept, missing ones cut; limits and long tails."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np
from torch import Tensor

from counterpoint.data.nested import cut
from counterpoint.errors import CounterpointError

UNLABELLED = -1


def hashes(pixels: Tensor) -> list[bytes]:
    """A short hash of every image's pixels [N, C, H, W]."""
    return [hashlib.blake2b(row.tobytes(), digest_size=12).digest() for row in pixels.numpy()]


def split_rows(
    labels: np.ndarray,
    same: Sequence[Sequence[Hashable]],
    named: list[str | None],
    validation: float,
    test: float,
    seed: int,
    spec: str,
    notes: list[str],
    untested: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Rows of "train", "validation" and "test"; what the files do not name is cut from train, stratified by class.

    Args:
        same: for every row what it must not share with another split: the hash of its pixels, its captions.
        untested: seeds of other splits; what they put into validation is not tested here.
    """
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares above 0 that leave some for training"
        )
    split = np.array([name or "train" for name in named])
    parts = {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}
    if not len(parts["train"]):
        raise CounterpointError(
            f"{spec}: no training images, only {sorted(set(split))}; expected a 'train' split"
        )
    shares = {
        name: share for name, share in (("validation", validation), ("test", test)) if not len(parts[name])
    }
    if not shares:
        return parts
    notes.append(f"{' and '.join(shares)} cut from the training images (stratified, seed {seed})")
    pool = parts["train"]
    # Copies form a group and go where its first row goes, or the evaluation would contain what was trained on.
    leader = np.array(_leaders([same[row] for row in pool.tolist()], pool.tolist()))
    side = dict.fromkeys(np.unique(leader).tolist(), "train")
    reserved = {
        row
        for other in untested
        for row in split_rows(labels, same, named, validation, test, other, spec, [])["validation"].tolist()
    }
    generator = np.random.default_rng(seed)
    for label in np.unique(labels[leader]):
        rows = generator.permutation([row for row in side if labels[row] == label])
        # An unlabelled image is of no use to the evaluation; keep those for training unless nothing is labelled.
        useful = label != UNLABELLED or (labels == UNLABELLED).all()
        counts = {name: round(share * len(rows)) if useful else 0 for name, share in shares.items()}
        side |= cut(rows.tolist(), counts, reserved)
    where = np.array([side[row] for row in leader.tolist()])
    parts |= {name: pool[where == name] for name in ("train", *shares)}
    for name, rows in parts.items():
        if not len(rows):
            raise CounterpointError(
                f"{spec}: too few images to cut a {name} split; give more images, or a '{name}' folder"
            )
    return parts


def _leaders(same: list[Sequence[Hashable]], rows: list[int]) -> list[int]:
    """The first row of every row's group; rows with anything in common are of one group.

    >>> _leaders([["a"], ["b"], ["a", "c"], ["c", "b"], ["d"]], [0, 1, 2, 3, 4])
    [0, 0, 0, 0, 4]
    """
    parent = {row: row for row in rows}
    first: dict[Hashable, int] = {}

    def root(row: int) -> int:
        while parent[row] != row:
            row = parent[row]
        return row

    for row, keys in zip(rows, same, strict=True):
        for key in keys:
            one, other = root(row), root(first.setdefault(key, row))
            parent[max(one, other)] = min(one, other)
    return [root(row) for row in rows]


def stratified(labels: np.ndarray, rows: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """At most ``limit`` of ``rows``, in the classes' proportions."""
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise CounterpointError(f"limit={limit}; expected a positive number of images")
    order = np.random.default_rng(seed).permutation(rows)
    # Rank every image within its class; taking the lowest relative ranks keeps the classes' proportions.
    position = np.empty(len(order))
    for label in np.unique(labels[order]):
        mine = np.flatnonzero(labels[order] == label)
        position[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.sort(order[np.argsort(position, kind="stable")[:limit]])


def long_tail_rows(
    labels: np.ndarray, rows: np.ndarray, ratio: float, seed: int, notes: list[str]
) -> np.ndarray:
    """Of ``rows``, classes of unequal size: each keeps ``ratio`` as many as the one before it, in an order of ``seed``."""
    if not 0 < ratio <= 1:
        raise CounterpointError(
            f"long_tail={ratio}; expected the size of each class relative to the one before it, such as 0.6"
        )
    classes, sizes = np.unique(labels[rows][labels[rows] >= 0], return_counts=True)
    if len(classes) < 2:
        raise CounterpointError("long_tail needs labelled classes; leave it out for images without labels")
    generator = np.random.default_rng([seed, len(classes)])
    chosen = [rows[labels[rows] < 0]]
    wanted = []
    for rank, label in enumerate(generator.permutation(classes)):
        wanted.append(max(1, round(int(sizes.min()) * ratio**rank)))
        chosen.append(generator.permutation(rows[labels[rows] == label])[: wanted[-1]])
    notes.append(
        f"long tail: training classes of {wanted[0]} down to {wanted[-1]} images, order drawn with seed {seed}"
    )
    return np.sort(np.concatenate(chosen))


def mislabelled_labels(labels: np.ndarray, share: float, seed: int, notes: list[str]) -> np.ndarray:
    """Labels with a share of them replaced by another class, every other class being as likely."""
    classes = np.unique(labels[labels >= 0])
    if not 0 < share < 1 or len(classes) < 2:
        raise CounterpointError(
            f"mislabelled={share} of {len(classes)} classes; expected a share between 0 and 1 of the labels of at least two classes"
        )
    random = np.random.default_rng([seed, 1])
    rows = random.permutation(np.flatnonzero(labels >= 0))
    wrong = rows[: round(share * len(rows))]
    position = np.searchsorted(classes, labels[wrong]) + random.integers(1, len(classes), len(wrong))
    changed = labels.copy()
    changed[wrong] = classes[position % len(classes)]
    notes.append(
        f"{len(wrong)} of the {len(rows)} labels that training sees are wrong on purpose (drawn with seed {seed})"
    )
    return changed
