"""A small model that almost never sorts letters by itself, and often does with a hint: where reward alone finds nothing to climb.

A character-level Llama of 2 layers is taught to repeat letters in a random order, and, shown the first of them in order, to go on
from these at random. So it fails alone (one permutation of 7 in 5,040 is right) and is right half of the time with all but two
given. Made in about half a minute on first use, then kept in the cache.
"""

from __future__ import annotations

import inspect
import random

import torch

from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.puzzles import hinted_sorting
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.tasks.stock.stored import stored

LETTERS = "abcdefghij"
TEMPLATE = "{information}#{prompt}"
"""How the shuffler is shown a hint: in front of the letters, after a number sign."""


def load(data: ProblemData) -> Language:
    """Return the shuffler for letters as many as the data's, taught now or taken from the cache.

    Raises:
        CounterpointError: the data's prompts are no distinct letters, all equally many.
    """
    sizes = {len(row.question) for row in data.train}
    if len(sizes) != 1 or not all(set(row.question) <= set(LETTERS) for row in data.train):
        raise CounterpointError(
            f"the model 'shuffler' knows the letters {LETTERS} and prompts of one length; use the data "
            "'hinted-sorting?digits=7', or another model"
        )
    (size,) = sizes
    return stored("shufflers", "shuffler", f"{size}/{inspect.getsource(shuffler)}", lambda: shuffler(size))


def shuffler(
    size: int, *, steps: int = 700, batch_size: int = 64, learning_rate: float = 3e-3, width: int = 64
) -> Language:
    """Teach a fresh model.

    Args:
        size: letters of a prompt.
        steps, batch_size, learning_rate: of the training. width: of the model's hidden states.
    """
    draw = random.Random(f"shuffler/{size}")
    model = tiny(seed=0, layers=2, width=width, heads=4, length=64, alphabet=LETTERS + "#")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1.0 - 0.9 * step / steps)
        prompts, answers = [], []
        for _ in range(batch_size):
            problem = hinted_sorting("".join(draw.sample(LETTERS, size)))
            hint = problem.hint if draw.random() < 0.5 else ""
            rest = [letter for letter in problem.question if letter not in hint]
            draw.shuffle(rest)
            shown = TEMPLATE.replace("{information}", hint).replace("{prompt}", problem.question)
            prompts.append(shown if hint else problem.question)
            answers.append(hint + "".join(rest))
        targets = model.completions(answers)
        loss = -completion_log_probs(model, model.prompts(prompts), targets).sum() / targets.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()
