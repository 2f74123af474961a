"""What methods that distil rationales share: who writes them, and the student's cross-entropy of rationales and of labels.

B problems, K rationales of the problem that has most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.conversation import Prompt
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.prompted import origin_of
from counterpoint.errors import CounterpointError
from counterpoint.generation.answers import several_answers
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own, Source
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models.language.encoder_decoder import load
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.demonstrations import with_demonstration
from counterpoint.training import Run

SHARD = 16
"""Problems of a durable shard of sampling: what a crash can cost."""


@dataclass
class Rationales:
    """A teacher that writes rationales; not needed where the data has a column of them, ``rationales``.

    Attributes:
        model: folder or bundled name of a local model; none where a server is the sampler.
        samples: rationales to a problem. temperature: of sampling. max_new_tokens: longest rationale.
        template: the teacher's prompt; worked examples go in front of {prompt}.
    """

    model: str = ""
    samples: int = 5
    temperature: float = 0.7
    max_new_tokens: int = 256
    template: str = "{prompt}\n\nThink step by step, and end with a line 'Answer: ' and the answer."


def written(
    problems: Sequence[Problem], teacher: Rationales, source: Source, student: Language, run: Run, key: str
) -> list[list[str]]:
    """The teacher's rationales to every problem: from the data, or sampled once, as a durable stage.

    Args:
        problems: N of them. teacher, source: who writes. student: whose tokens a server's texts are given in.
        run: keeps what is sampled. key: of the method, for messages.

    Raises:
        CounterpointError: nobody to write them, data where only some problems have any, or a teacher beside such data.
    """
    have = [bool(row.meta.get("rationales")) for row in problems]
    if any(have):
        if not all(have):
            raise CounterpointError(
                f"{key}: {have.count(False)} of {len(have)} training problems have no rationales, first "
                f"{origin_of(problems, have.index(False))}; give the column 'rationales' to every row, or to none and name a teacher"
            )
        if teacher.model or source.kind == "server":
            raise CounterpointError(
                f"{key}: the data has rationales, and a teacher is named as well; leave one of them out"
            )
        return [row.meta["rationales"] for row in problems]
    how = Sampler(max_new_tokens=teacher.max_new_tokens, temperature=teacher.temperature)
    if source.kind == "server":
        sampler = source.build(key, student, how)
    elif teacher.model:
        sampler = Own(run.constant(load(teacher.model)), how)
    else:
        raise CounterpointError(
            f"{key}: nobody writes rationales; name a teacher, --teacher.model FOLDER or --sampler server --sampler.url URL "
            "--sampler.model NAME, or give the data a column 'rationales' with several texts a row"
        )

    def sampled(shard: Sequence[int]) -> list[list[str]]:
        prompts = [with_demonstration(problems[at], "", teacher.template) for at in shard]
        answers = several_answers(sampler, prompts, teacher.samples, seed=run.seed, numbers=shard)
        return [[answer["text"] for answer in row] for row in answers]

    return run.stage("rationales", sampled, over=range(len(problems)), size=SHARD)


def valid(texts: Sequence[Sequence[str]], like: Tensor) -> Tensor:
    """[B, K] bool: which rationales there are."""
    width = max(map(len, texts), default=0)
    lengths = torch.tensor([len(row) for row in texts], device=like.device)
    return torch.arange(width, device=like.device) < lengths[:, None]


def entropies(model: Language, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]], run: Run) -> Tensor:
    """Mean token cross-entropy of every rationale, [B, K]; 0 where there is none.

    Args:
        model: the student. prompts: B. texts: rationales of each prompt. run: knows precision and micro-batches.
    """
    flat = [(prompt, text) for prompt, row in zip(prompts, texts) for text in row]
    there = valid(texts, model.head.weight)
    table = model.head.weight.new_zeros(there.shape)
    if not flat:
        return table + 0 * model.head.weight.sum()
    loss = _entropy(model, [prompt for prompt, _ in flat], [text for _, text in flat], run)
    return table.masked_scatter(there, loss.values.to(table))


def predicted(model: Language, prompts: Sequence[Prompt], labels: Sequence[str], run: Run) -> Loss:
    """Mean token cross-entropy of each label."""
    return _entropy(model, prompts, labels, run)


def _entropy(model: Language, prompts: Sequence[Prompt], texts: Sequence[str], run: Run) -> Loss:
    before, after = model.rows(list(prompts), list(texts))
    both, mask = join(before, after), after.authored
    hidden = run.forward(model, both.ids, both.mask, last=after.width)
    logp = log_probs(model.scores(hidden), after.ids, mask=mask)
    return nll(logp.sum(1), mask.sum(1), "sequence_mean")
