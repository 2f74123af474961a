"""Pseudo pairs from a prior: every plain picture stylised once by a frozen editor, as a durable stage.

What was made before a crash is read again. On several processes each edits a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from counterpoint.data.styles.sets import Styles, with_styled
from counterpoint.errors import CounterpointError
from counterpoint.generation.picture_editors import Edit, Prior, edited, editor
from counterpoint.training import Run
from counterpoint.training.seeds import derive

TOGETHER = 16
"""Pictures of a piece of the stage."""
PIECE = 1024
"""Pictures that are compared at a time."""


def with_pseudo_pairs(data: Styles, prior: Prior, run: Run) -> Styles:
    """The same data with styled copies of the training's plain pictures, beside styled ones that are there.

    Raises:
        CounterpointError: no styled pictures and no prior, or an editor that fails.
    """
    if not prior.editor:
        if not len(data.train.styled):
            raise CounterpointError(
                "there are no styled pictures and no prior that makes them; give --data-option styled=FOLDER, or "
                "--prior.editor with a function 'styles.py:paint', a command, or the folder of a diffusers pipeline"
            )
        return data
    prompt = prior.prompt or data.prompts["styled"][0]
    opened: list[Edit] = []

    def edit(rows: Sequence[int]) -> list[Tensor]:
        if not opened:  # only where there is something left to do
            opened.append(editor(prior))
        return [
            edited(opened[0], data.train.plain[row], prompt, derive(run.seed, "prior", row) % 2**31)
            for row in rows
        ]

    made = torch.stack(run.stage("pseudo-pairs", edit, over=range(len(data.train.plain)), size=TOGETHER))
    sums = [
        (one.float() - other.float()).abs().mean((1, 2, 3)).double().sum()
        for one, other in zip(made.split(PIECE), data.train.plain.split(PIECE), strict=True)
    ]
    changed = float(sum(sums)) / len(made) / 127.5
    run.say(
        f"the prior made {len(made)} styled pictures ('{prompt}'), {changed:.2f} from the plain ones (of at most 2)"
    )
    return replace(data, train=with_styled(data.train, made))
