"""How far a cold start reaches beyond what it was trained on: format accuracy, and the generalization factor (SPECS, arXiv 2510.25801).

With G_ID, G_OOD the gains over the base model with the trained and with other format prompts, negative ones counted as 0,

    Gamma = (1 + beta^2) G_ID G_OOD / (beta^2 G_ID + G_OOD),    0 where the denominator is 0,

an F-measure with G_OOD in the place of recall: beta = 2 weighs it more, and without any gain out of distribution there is no Gamma.
"""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.conversation import Prompt
from counterpoint.data.language.tagged import Tags
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.models.language.language import Language


def generalization_factor(gain_id: float, gain_ood: float, beta: float = 2.0) -> float:
    """Gamma of two gains.

    >>> round(generalization_factor(97.9, 69.4), 2), generalization_factor(50.0, 0.0), generalization_factor(20.0, 20.0)
    (73.69, 0.0, 20.0)
    """
    one, other = max(gain_id, 0.0), max(gain_ood, 0.0)
    below = beta**2 * one + other
    return (1 + beta**2) * one * other / below if below > 0 else 0.0


def format_accuracy(
    model: Language, prompts: Sequence[Prompt], tags: Tags, *, max_new_tokens: int, seed: int = 0
) -> float:
    """The share of sampled completions (temperature 1) that are in the form.

    Sampled, not greedy: a form that is already the likeliest looks perfect when it is decoded greedily.
    """
    how = Sampler(max_new_tokens=max_new_tokens)
    drawn = how(model, model.prompts(list(prompts)), row_draws(seed, range(len(prompts)), max_new_tokens))
    right = [
        ended and tags.parts(text) is not None
        for text, ended in zip(model.texts(drawn), drawn.ended.tolist(), strict=True)
    ]
    return sum(right) / len(right)
