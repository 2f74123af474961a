"""Rows of unequal length laid behind one another in sequences, instead of padded one by one.

A transformers model that is given position ids that start anew, and no mask, keeps the rows of a sequence apart: by a
block-diagonal mask, or by the row borders of flash attention. Which models do so is tried, never assumed. States and
gradients are those of rows alone, up to rounding; dropout falls elsewhere. B rows, L positions, S sequences, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.models.language.own_forward import FOREIGN, LENGTH, Pass, trial_tokens
from counterpoint.models.tokens import Tokens

Call = Callable[[Tensor, Tensor], Tensor]
"""Ids and position ids [S, L] to states [S, L, D], without a mask."""


class Packable(Protocol):
    """What is asked of a language model here."""

    runs: Pass
    packs: bool

    @property
    def base(self) -> Any:
        """The transformers model with its head."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def packed(self, rows: Tokens) -> Tensor:
        """States [B, L, D] of rows whose tokens stand at the left, run in packed sequences."""


def sequences(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Fill sequences with rows, the longest first, each into the first sequence that has room.

    Args:
        lengths: of each row. width: of a sequence.

    Returns:
        Row numbers of each sequence, in their order there; rows without a token are in none.

    >>> sequences([3, 9, 4, 2, 0], width=9)
    [[1], [2, 0, 3]]
    """
    filled: list[list[int]] = []
    room: list[int] = []
    for row in sorted((row for row in range(len(lengths)) if lengths[row]), key=lambda row: -lengths[row]):
        for at, left in enumerate(room):
            if lengths[row] <= left:
                filled[at].append(row)
                room[at] -= lengths[row]
                break
        else:
            filled.append([row])
            room.append(width - lengths[row])
    return filled


def cheapest(lengths: Sequence[int], reach: float) -> list[list[int]]:
    """Fill sequences of the width that costs least: wide ones hold less padding, narrow ones attend to less.

    Args:
        lengths: of each row. reach: the length at which attention costs as much as the rest of the model does.

    >>> cheapest([5, 4, 2], reach=1000.0), cheapest([5, 4, 2], reach=1.0)
    ([[0, 1, 2]], [[0], [1, 2]])
    """
    total, longest = sum(lengths), max(lengths)
    # A mask is formed for every pair of positions, whatever attention costs: no sequence beyond four of the longest.
    widths = {max(longest, -(-total // count)) for count in range(1, len(lengths) + 1)}
    tried = [sequences(lengths, width) for width in sorted(widths) if width <= max(4 * longest, 1)]

    def cost(filled: list[list[int]]) -> float:
        width = max(sum(lengths[row] for row in each) for each in filled)
        return len(filled) * width * (1 + width / reach)

    return min(tried, key=cost)


def packed_states(rows: Tokens, call: Call, *, reach: float, flat: bool = False) -> Tensor:
    """Hidden states [B, L, D] of rows whose tokens stand at the left; zeros on their padding.

    Args:
        rows: right-padded. call: runs the model. reach: as of ``cheapest``. flat: all rows in one sequence, which flash attention asks
            for.
    """
    lengths = rows.lengths.tolist()
    placed = sequences(lengths, sum(lengths)) if flat else cheapest(lengths, reach)
    width = max(sum(lengths[row] for row in each) for each in placed)
    ids = rows.ids.new_zeros(len(placed), width)
    places = torch.zeros_like(ids)
    source: list[int] = []
    target: list[int] = []
    for number, each in enumerate(placed):
        start = 0
        for row in each:
            length = lengths[row]
            ids[number, start : start + length] = rows.ids[row, :length]
            places[number, start : start + length] = torch.arange(length, device=ids.device)
            source += range(number * width + start, number * width + start + length)
            target += range(row * rows.width, row * rows.width + length)
            start += length
    states = call(ids, places).flatten(0, 1)
    read = states.index_select(0, torch.tensor(source, device=ids.device))
    whole = read.new_zeros(len(rows) * rows.width, read.shape[-1])
    whole = whole.index_copy(0, torch.tensor(target, device=ids.device), read)
    return whole.view(len(rows), rows.width, -1)


def pack(model: Packable) -> None:
    """Let a model run rows in packed sequences from now on, after it has been seen to keep them apart.

    Raises:
        CounterpointError: a model that cannot, with the reason.
    """
    reason = obstacle(model)
    if reason is not None:
        raise CounterpointError(
            f"packing=true, and {type(model.base).__name__} cannot read several rows in one sequence: {reason}; leave packing "
            "out (rows of like length still go together)"
        )
    model.packs = True


@torch.no_grad()
def obstacle(model: Packable) -> str | None:
    """Why a model's rows cannot be packed; None where they can."""
    if not model.runs.fast or not model.runs.positions:
        return "its scores take the plain path"
    base = model.base
    takes = inspect.signature(base.base_model.forward).parameters
    variable = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values())
    if "position_ids" not in takes and not variable:
        return "its forward takes no position ids"
    if model.device.type == "meta":
        return None
    with evaluating(base):
        ids = trial_tokens(base, model.device, type(base).__name__)
        try:
            return _mixes(model, ids)
        except (*FOREIGN, CounterpointError) as error:
            return f"it fails without a mask ({type(error).__name__})"


def _mixes(model: Packable, ids: Tensor) -> str | None:
    """Run two short rows behind a long one, then behind another long one: theirs must not change by a bit."""
    short = LENGTH // 2 - 1
    rows = torch.zeros(4, LENGTH, dtype=ids.dtype, device=ids.device)
    mask = torch.zeros_like(rows)
    for row, (length, start) in enumerate(((LENGTH, 0), (LENGTH - 1, 0), (short, 3), (short, 5))):
        rows[row, :length], mask[row, :length] = ids[row % 2].roll(-start)[:length], 1
    filled = Tokens(torch.cat([rows, rows[2:]]), torch.cat([mask, mask[2:]]))
    one = model.packed(filled)
    altered = filled.ids.clone()
    altered[2] = altered[2].flip(0)  # a short row, which others stand before or behind
    altered[2, short:] = 0
    altered[2, :short] = filled.ids[2, :short].flip(0)
    other = model.packed(Tokens(altered, filled.mask))
    stays = [row for row in range(len(filled)) if row != 2]
    if not torch.equal(one[stays], other[stays]):
        return "a row's states change with the rows beside it"
    if torch.equal(one[2, :short], other[2, :short]):
        return "its states do not change with the tokens"
    for row in range(len(filled)):
        length = int(filled.mask[row].sum())
        alone = model.packed(Tokens(filled.ids[row : row + 1, :length], filled.mask[row : row + 1, :length]))
        bound = (1e-4 if one.dtype in (torch.float32, torch.float64) else 5e-2) * float(alone.abs().max())
        if not float((one[row, :length] - alone[0]).abs().max()) <= bound:
            return "a row's states are others than those of the row alone"
    return None
