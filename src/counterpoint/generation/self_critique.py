"""Answers that a model criticises and mends itself, round after round: what RLTF-FM's model can do at test time (2602.02482)."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.conversation import Prompt
from counterpoint.data.language.turns import CRITICISE, RETRY, check_templates, to_criticise, with_feedback
from counterpoint.errors import CounterpointError
from counterpoint.generation.samplers import Samples


def answer_in_rounds(
    sampler: Samples,
    prompts: Sequence[Prompt],
    rounds: int = 1,
    *,
    template: str = RETRY,
    critique_template: str = CRITICISE,
) -> list[list[str]]:
    """Answer every prompt, then criticise and answer again; every answer sees the critique of the one before.

    Args:
        sampler: greedy, of the model: ``Own(model, Sampler(temperature=0.0))``.
        prompts: P of them. rounds: how many times the answer is criticised; 0 only answers.
        template, critique_template: as in training.

    Returns:
        P lists of ``rounds`` + 1 answers.

    Raises:
        CounterpointError: less than 0 rounds, a sampler that draws, or a template without a field.

    >>> from counterpoint.generation.sampler import Sampler
    >>> from counterpoint.generation.samplers import Own
    >>> from counterpoint.models.language.characters import tiny
    >>> every = answer_in_rounds(Own(tiny(seed=0), Sampler(max_new_tokens=3, temperature=0.0)), ["1+1=", "2+2="], rounds=2)
    >>> [len(answers) for answers in every]
    [3, 3]
    """
    check_templates(template, critique_template)
    if rounds < 0 or not sampler.how.greedy:
        raise CounterpointError(
            f"rounds={rounds}, temperature={sampler.how.temperature}: expected rounds from 0 on and a greedy sampler, "
            "Own(model, Sampler(max_new_tokens=256, temperature=0.0))"
        )
    answers = [[text] for text in _texts(sampler, prompts)]
    for _ in range(rounds):
        attempts = [each[-1] for each in answers]
        critiques = _texts(
            sampler, [to_criticise(p, a, critique_template) for p, a in zip(prompts, attempts)]
        )
        again = [with_feedback(p, a, c, template) for p, a, c in zip(prompts, attempts, critiques)]
        for each, text in zip(answers, _texts(sampler, again), strict=True):
            each.append(text)
    return answers


def _texts(sampler: Samples, prompts: Sequence[Prompt], at_once: int = 64) -> list[str]:
    texts: list[str] = []
    for at in range(0, len(prompts), at_once):
        texts += sampler.model.texts(sampler(prompts[at : at + at_once]))
    return texts
