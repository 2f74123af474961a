"""Anchors: one good answer to every prompt, from a teacher that is asked once, or from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from counterpoint.data.language.problem import Problem
from counterpoint.data.language.prompted import Each, origin_of
from counterpoint.errors import CounterpointError, counted
from counterpoint.generation.answers import several_answers
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own, Source
from counterpoint.models.language.encoder_decoder import load
from counterpoint.models.language.language import Language
from counterpoint.pairs.demonstrations import with_demonstration
from counterpoint.training import Run

SHARD = 16
"""Prompts of a durable shard: what a crash can cost."""


@dataclass
class Anchors:
    """The teacher; not needed where the data has references.

    Attributes:
        model: folder or bundled name of a local model; none where a server is the sampler.
        temperature: of its sampling; 0 is greedy. max_new_tokens: its longest answer.
        template: its prompt, with {prompt}.
    """

    model: str = ""
    temperature: float = 0.7
    max_new_tokens: int = 512
    template: str = "{prompt}"


def anchored(
    problems: Sequence[Problem], teacher: Anchors, source: Source, student: Language, run: Run, key: str
) -> Sequence[Problem]:
    """The problems with their anchors as references; a teacher's answers are a durable stage, each prompt asked once.

    Args:
        problems: N of them. teacher, source: who answers. student: whose tokens a server's texts are given in.
        run: keeps the answers. key: of the method, for messages.

    Returns:
        The problems that have an anchor: those to which a teacher said nothing are left out, and counted in a line.

    Raises:
        CounterpointError: no teacher, and problems without a reference; a teacher, and problems with one; no answer at all.
    """
    served = source.kind == "server"
    if not served and not teacher.model:
        missing = [number for number, row in enumerate(problems) if not row.reference]
        if missing:
            raise CounterpointError(
                f"{key}: {len(missing)} of {len(problems)} training problems have no reference, first {origin_of(problems, missing[0])}; give the "
                "data a 'completion' column, or name a teacher: --teacher.model FOLDER, or --sampler server --sampler.url URL "
                "--sampler.model NAME"
            )
        return problems
    if any(row.solution or row.messages for row in problems):
        raise CounterpointError(
            f"{key}: the data has completions, and a teacher is named as well; leave one of them out"
        )
    how = Sampler(max_new_tokens=teacher.max_new_tokens, temperature=teacher.temperature)
    if served:
        if teacher.model:
            raise CounterpointError(
                f"{key}: teacher.model={teacher.model!r} and sampler.kind=server name two teachers; leave one of them out"
            )
        sampler = source.build(key, student, how, folder=run.out)
    else:
        sampler = Own(run.constant(load(teacher.model)), how)

    def answered(shard: Sequence[int]) -> list[str]:
        prompts = [with_demonstration(problems[at], "", teacher.template) for at in shard]
        answers = several_answers(sampler, prompts, 1, seed=run.seed, numbers=shard)
        return [answer["text"] for (answer,) in answers]

    texts = run.stage("anchors", answered, over=range(len(problems)), size=SHARD)
    rows = Each(
        [number for number, text in enumerate(texts) if text.strip()],
        lambda number: replace(problems[number], solution=texts[number]),
    )
    if not len(rows):
        raise CounterpointError(f"{key}: the teacher gave no answer to any of {len(problems)} prompts")
    if len(rows) < len(problems):
        of = f"of {len(problems)} prompts "
        left_out = counted(len(problems) - len(rows), of + "is left out", of + "are left out")
        run.say(f"{left_out}: the teacher gave no answer")
    return rows
