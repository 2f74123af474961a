"""Two Triton kernels behind every similarity statistic: row sums with their mean column, and weighted products.

Both form logits ``s_rc = scale <x_r, y_c> + log_weight_rc`` block by block in registers; pairs that a rule keeps out are
-inf. No logit reaches memory. Sums run in float32 (float64 for float64 inputs), offsets in 64 bits.
Axes: N rows (each owned by one program), M columns (gone over in blocks), D width, padded to a power of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.0e38)
"""A finite start for running maxima: -inf minus itself would be NaN."""


@triton.jit
def _tile(x, rows, inside, start, PIECE: tl.constexpr, D: tl.constexpr):
    """Load a piece of the width of some rows, zeros outside."""
    width = start + tl.arange(0, PIECE)
    offsets = rows.to(tl.int64)[:, None] * D + width[None, :]
    return tl.load(x + offsets, mask=inside[:, None] & (width < D)[None, :], other=0.0)


@triton.jit
def _logits(
    x, y, rows, columns, num_rows, num_columns,
    scale, log_weights, row_keys, column_keys, table,
    weight_row, weight_column, table_row, table_column,
    KEYS: tl.constexpr, EQUAL: tl.constexpr, NOT_SELF: tl.constexpr, TABLE: tl.constexpr, WEIGHTS: tl.constexpr,
    SCALE_OF_COLUMNS: tl.constexpr, WIDTH: tl.constexpr, PIECE: tl.constexpr, D: tl.constexpr,
    LOGIT_PRECISION: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Form one block of logits; the width is crossed in pieces, so that no whole row needs registers."""
    inside_rows, inside_columns = rows < num_rows, columns < num_columns
    s = tl.zeros([rows.shape[0], columns.shape[0]], SUM)
    for start in range(0, WIDTH, PIECE):
        mine = _tile(x, rows, inside_rows, start, PIECE, D).to(SUM)
        theirs = _tile(y, columns, inside_columns, start, PIECE, D).to(SUM)
        s = tl.dot(mine, tl.trans(theirs), s, input_precision=LOGIT_PRECISION, out_dtype=SUM)
    inside = inside_rows[:, None] & inside_columns[None, :]
    if SCALE_OF_COLUMNS:
        s *= tl.load(scale + columns, mask=inside_columns, other=0.0)[None, :]
    else:
        s *= tl.load(scale + rows, mask=inside_rows, other=0.0)[:, None]
    far_rows, far_columns = rows.to(tl.int64)[:, None], columns.to(tl.int64)[None, :]
    if WEIGHTS:
        offsets = far_rows * weight_row + far_columns * weight_column
        s += tl.load(log_weights + offsets, mask=inside, other=0.0)
    allowed = inside
    if NOT_SELF:
        allowed = allowed & (rows[:, None] != columns[None, :])
    if TABLE:
        offsets = far_rows * table_row + far_columns * table_column
        allowed = allowed & (tl.load(table + offsets, mask=inside, other=0) != 0)
    for k in tl.static_range(KEYS):
        left = tl.load(row_keys + k * num_rows + rows, mask=inside_rows, other=0)
        right = tl.load(column_keys + k * num_columns + columns, mask=inside_columns, other=0)
        if (EQUAL >> k) & 1:
            allowed = allowed & (left[:, None] == right[None, :])
        else:
            allowed = allowed & (left[:, None] != right[None, :])
    return tl.where(allowed, s, float("-inf"))


@triton.jit
def row_sums(
    x, y, scale, log_weights, row_keys, column_keys, table,
    value, mixed, partial, num_rows, num_columns, first_row,
    weight_row, weight_column, table_row, table_column,
    WIDTH: tl.constexpr, PIECE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, EQUAL: tl.constexpr, NOT_SELF: tl.constexpr, TABLE: tl.constexpr, WEIGHTS: tl.constexpr,
    MIXED: tl.constexpr, PARTIAL: tl.constexpr, LOGIT_PRECISION: tl.constexpr, PRECISION: tl.constexpr,
    SUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write value [N], the row's log-sum-exp; if wanted mixed [N, D], its softmax-weighted mean column, and partial
    [programs, M], the log-sum-exp of each column over this program's rows."""
    rows = first_row + tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    width = tl.arange(0, WIDTH)
    inside = (rows < num_rows)[:, None] & (width < D)[None, :]
    top = tl.full([ROWS], LOWEST, SUM)
    total = tl.zeros([ROWS], SUM)
    mean = tl.zeros([ROWS, WIDTH], SUM)
    for start in range(0, num_columns, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        s = _logits(
            x, y, rows, columns, num_rows, num_columns, scale, log_weights, row_keys, column_keys, table,
            weight_row, weight_column, table_row, table_column,
            KEYS, EQUAL, NOT_SELF, TABLE, WEIGHTS, False, WIDTH, PIECE, D, LOGIT_PRECISION, SUM,
        )  # fmt: skip
        if PARTIAL:
            highest = tl.maximum(tl.max(s, 0), LOWEST)
            summed = highest + tl.log(tl.sum(tl.exp(s - highest[None, :]), 0))
            offsets = tl.program_id(0).to(tl.int64) * num_columns + columns
            tl.store(partial + offsets, summed, mask=columns < num_columns)
        here = tl.maximum(top, tl.max(s, 1))
        shrink = tl.exp(top - here)
        p = tl.exp(s - here[:, None])
        total = total * shrink + tl.sum(p, 1)
        if MIXED:
            theirs = _tile(y, columns, columns < num_columns, 0, WIDTH, D).to(SUM)
            mean = tl.dot(p, theirs, mean * shrink[:, None], input_precision=PRECISION, out_dtype=SUM)
        top = here
    tl.store(value + rows, top + tl.log(total), mask=rows < num_rows)
    if MIXED:
        mean = mean / tl.where(total > 0, total, 1.0)[:, None]
        tl.store(mixed + rows.to(tl.int64)[:, None] * D + width[None, :], mean, mask=inside)


@triton.jit
def weighted_products(
    x, y, scale, log_weights, row_keys, column_keys, table,
    row_shift, row_factor, column_shift, column_factor, out, mass,
    num_rows, num_columns, weight_row, weight_column, table_row, table_column,
    WIDTH: tl.constexpr, PIECE: tl.constexpr, D: tl.constexpr,
    KEYS: tl.constexpr, EQUAL: tl.constexpr, NOT_SELF: tl.constexpr, TABLE: tl.constexpr, WEIGHTS: tl.constexpr,
    OF_ROWS: tl.constexpr, SCALE_OF_COLUMNS: tl.constexpr, PRODUCT: tl.constexpr, MASS: tl.constexpr,
    LOGIT_PRECISION: tl.constexpr, PRECISION: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write out [N, D] = ``sum_c w_rc y_c`` and mass [N] = ``sum_c w_rc``, where
    ``w_rc = h_c exp(s_rc - column_shift_c) [+ g_r exp(s_rc - row_shift_r)]``.

    Where the scale belongs to the columns it multiplies the product too.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    width = tl.arange(0, WIDTH)
    inside = (rows < num_rows)[:, None] & (width < D)[None, :]
    sums = tl.zeros([ROWS, WIDTH], SUM)
    masses = tl.zeros([ROWS], SUM)
    for start in range(0, num_columns, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        valid = columns < num_columns
        s = _logits(
            x, y, rows, columns, num_rows, num_columns, scale, log_weights, row_keys, column_keys, table,
            weight_row, weight_column, table_row, table_column,
            KEYS, EQUAL, NOT_SELF, TABLE, WEIGHTS, SCALE_OF_COLUMNS, WIDTH, PIECE, D, LOGIT_PRECISION, SUM,
        )  # fmt: skip
        shift = tl.load(column_shift + columns, mask=valid, other=0.0)
        factor = tl.load(column_factor + columns, mask=valid, other=0.0)
        w = tl.exp(s - shift[None, :]) * factor[None, :]
        if OF_ROWS:
            shift = tl.load(row_shift + rows, mask=rows < num_rows, other=0.0)
            factor = tl.load(row_factor + rows, mask=rows < num_rows, other=0.0)
            w += tl.exp(s - shift[:, None]) * factor[:, None]
        if MASS:
            masses += tl.sum(w, 1)
        if SCALE_OF_COLUMNS:
            w *= tl.load(scale + columns, mask=valid, other=0.0)[None, :]
        if PRODUCT:
            theirs = _tile(y, columns, valid, 0, WIDTH, D).to(SUM)
            sums = tl.dot(w, theirs, sums, input_precision=PRECISION, out_dtype=SUM)
    if PRODUCT:
        tl.store(out + rows.to(tl.int64)[:, None] * D + width[None, :], sums, mask=inside)
    if MASS:
        tl.store(mass + rows, masses, mask=rows < num_rows)
