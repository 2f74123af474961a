"""Which texts are trained on and which are held out: splits without leaks, beginnings in the classes' proportions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from counterpoint.data import row_numbers
from counterpoint.data.nested import cut
from counterpoint.errors import CounterpointError

SPLITS = ("train", "validation", "test")
KEY = np.dtype("S12")
"""Of ``text_key``."""


def split_rows(
    keys: np.ndarray,
    splits: np.ndarray,
    split_names: Sequence[str | None],
    first: np.ndarray,
    validation: float,
    test: float,
    seed: int,
    name: str,
    notes: list[str],
    untested: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Row numbers of train, validation and test: as the rows name them, what is missing cut from the training rows.

    Args:
        keys: [N] the same for rows that stay together, as of ``text_keys``. splits: [N] numbers into ``split_names``; one that nobody names is None.
        first: [N] each row's first class, -1 without a label; what is cut keeps the classes' proportions.
        notes: gets a line when something was cut.
        untested: seeds of other splits; what they put into validation is not tested here.

    Raises:
        CounterpointError: an unknown split, no training rows, too few rows to cut from.
    """
    codes = {part: code for code, part in enumerate(SPLITS)}
    present = {split_names[number] for number in np.unique(splits).tolist()}
    strange = {split for split in present if split and split not in codes}
    if strange:
        raise CounterpointError(
            f"{name}: a split called '{min(strange)}'; expected train, validation and test"
        )
    table = np.array([codes.get(split or "train", 0) for split in split_names], np.int8)
    named = row_numbers.gathered(table, splits)
    parts = {part: row_numbers.positions(named == code) for code, part in enumerate(SPLITS)}
    if not len(parts["train"]):
        raise CounterpointError(
            f"{name}: no training texts, only {', '.join(sorted(split or 'train' for split in present))}; add a train file"
        )
    shares = {
        part: share for part, share in (("validation", validation), ("test", test)) if not len(parts[part])
    }
    if not shares:
        return parts
    notes.append(f"{' and '.join(shares)} cut from the training texts (stratified, seed {seed})")
    pool = parts["train"]
    own_keys = keys if len(pool) == len(keys) else row_numbers.gathered(keys, pool)
    owner = row_numbers.gathered(pool, _first_copies(own_keys))
    leaders = pool[owner == pool]
    side = np.zeros(len(keys), np.int8)
    reserved = {
        row
        for other in untested
        for row in split_rows(keys, splits, split_names, first, validation, test, other, name, [])[
            "validation"
        ].tolist()
    }
    random = np.random.default_rng(seed)
    for label in np.unique(first[leaders]):
        own = random.permutation(leaders[first[leaders] == label])
        # Texts without a label are of no use to the evaluation, unless nothing has one.
        useful = label >= 0 or (first < 0).all()
        counts = {part: round(share * len(own)) if useful else 0 for part, share in shares.items()}
        meant = own if reserved else own[: sum(counts.values())]
        for row, part in cut(meant.tolist(), counts, reserved).items():
            side[row] = codes[part]
    where = row_numbers.gathered(side, owner)
    parts |= {part: pool[where == codes[part]] for part in ("train", *shares)}
    for part, index in parts.items():
        if not len(index):
            raise CounterpointError(
                f"{name}: too few labelled texts to cut a {part} split; give more, or a {part} file"
            )
    return parts


def numbered(splits: Sequence[str | None]) -> tuple[np.ndarray, list[str | None]]:
    """[N] numbers of the splits that rows name, and the splits' names.

    >>> numbered(["test", None, "test"])
    (array([0, 1, 0], dtype=int8), ['test', None])
    """
    names = list(dict.fromkeys(splits))
    return np.fromiter((names.index(split) for split in splits), np.int8, len(splits)), names


def text_keys(texts: Iterable[str], count: int) -> np.ndarray:
    """[N] what copies of texts share."""
    return np.fromiter(map(text_key, texts), KEY, count)


def _first_copies(keys_N: np.ndarray) -> np.ndarray:
    """[N] for each text the number of the first one that is its copy."""
    order = np.argsort(keys_N, kind="stable")  # of copies, the first comes first
    first = np.empty(len(keys_N), row_numbers.smallest(len(keys_N)))
    before, leader = None, -1  # the last key of the part before, and the first text that has it
    for _, part in row_numbers.parts(order):
        ordered = keys_N[part]
        new = np.concatenate([[before is None or ordered[0] != before], ordered[1:] != ordered[:-1]])
        first[part] = np.concatenate([[leader], part[new]])[np.cumsum(new)]
        before, leader = ordered[-1], first[part[-1]]
    return first


def proportional(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """``rows`` in an order of which every beginning has the classes in their proportions; unlabelled rows come last."""
    order = np.random.default_rng(seed).permutation(rows)
    position = np.empty(len(order))
    for label in np.unique(labels[order]):
        mine = np.flatnonzero(labels[order] == label)
        position[mine] = (np.arange(len(mine)) + 0.5) / len(mine) if label >= 0 else 2.0
    return order[np.argsort(position, kind="stable")]


def text_key(text: str) -> bytes:
    """What two copies of a text share: a hash without regard to case and spaces."""
    return hashlib.blake2b(
        " ".join(text.lower().split()).encode("utf-8", "surrogatepass"), digest_size=12
    ).digest()
