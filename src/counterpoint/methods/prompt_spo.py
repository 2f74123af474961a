"""SPO: self-supervised prompt optimisation (arXiv 2502.06855, Alg. 1). No labels, no gradient; the prompt is what changes.

A prompt P is put in front of the same few questions Q, f(Q, P) are the answers, and in every round

    P' = propose(requirements, P*, f(Q, P*)),    P* <- P'  if more than half of n votes prefer f(Q, P') to f(Q, P*).

Only the best prompt so far is shown to who proposes; only answers are shown to who votes, in random order (``judges.votes.pairwise``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from counterpoint.conversation import last_text
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.authors import Author, Writer, Written, of_sampler, totals
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Source
from counterpoint.judges.choose import judge as choose_judge
from counterpoint.judges.votes.pairwise import ballot, choice, listed, new_wins, strict_majority
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.language.instructed import Instructed, with_instruction
from counterpoint.models.language.language import Language, Prompt
from counterpoint.phases.lineage import Lineage
from counterpoint.phases.prompt_proposals import modification, proposed, request_for
from counterpoint.training import Run
from counterpoint.training.seeds import derive

THINK = "Think step by step. End with a line of its own: Answer: and the answer."
"""The prompt to start from, as the paper's: reasoning first, and where the answer stands."""
REQUIREMENTS = "Answer the questions correctly, in the form that they ask for."
UNCOUNTED = ("rated:", "compared:", "anchored:")


@dataclass
class Limits:
    """What the search may use: a group of settings. A round that would pass a limit is not begun, or not finished.

    Attributes:
        calls: of executions, proposals and votes together; 0 sets no limit.
        tokens: prompts and completions of all of them; 0 sets no limit.
    """

    calls: int = 0
    tokens: int = 0


@dataclass
class Voter(Writer):
    """Who votes: the settings of ``Writer``, cooler."""

    temperature: float = 0.3


class Stopped(Exception):
    """A limit would be passed."""


@dataclass(kw_only=True)
class PromptSPO(Method[Language, ProblemData]):
    """Improve a prompt by comparing its answers.

    Attributes:
        requirements: what the task asks for; shown to who proposes and to who votes.
        prompt: where the search starts; None takes the model's own instruction, or the paper's "think step by step".
        sketch: the form of answer that is wanted, shown beside the requirements; no label.
        rounds: proposals.
        questions: training problems that prompts are compared on, drawn once by the run's seed.
        votes: of a comparison; a tie keeps the old prompt.
        words: at most so many in a prompt; 0 sets no limit.
        judge: "votes", or any other judge's name: then the larger mean reward over the questions wins.
        guarded: read verdicts and prompts by tags that no answer can know, and reject a proposal without a prompt at once; False
            is the published contract.
        temperature, max_new_tokens: of the answers.
        sampler: who answers: the model itself, or a server.
        proposer, voter: who proposes and who votes.
        limits: on calls and tokens.
    """

    key: ClassVar[str] = "prompt-spo"
    search: ClassVar[Search] = {"questions": [1, 3, 5], "votes": [1, 4, 8]}
    ablations: ClassVar[Ablations] = {
        "one vote": {"votes": 1},
        "one question": {"questions": 1},
        "verdicts anywhere": {"guarded": False},
    }

    requirements: str = REQUIREMENTS
    prompt: str | None = None
    sketch: str = ""
    rounds: int = 10
    questions: int = 3
    votes: int = 4
    words: int = 0
    judge: str = "votes"
    guarded: bool = True
    temperature: float = 0.0
    max_new_tokens: int = 512
    sampler: Source = field(default_factory=Source)
    proposer: Writer = field(default_factory=Writer)
    voter: Voter = field(default_factory=Voter)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(above_zero=("questions", "votes", "max_new_tokens"))
        limited = self.limits.calls or self.limits.tokens
        if limited and self.judge.startswith(UNCOUNTED):
            raise CounterpointError(
                f"{self.key}: judge={self.judge} asks a model whose calls are not counted, so limits cannot hold; use judge=votes "
                "with voter.author, or leave limits out"
            )

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Answer with the first prompt; then ``rounds`` times propose, answer, compare and keep the better."""
        plain = run.constant(self._plain(model))
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        execute = of_sampler(self.sampler.build(self.key, plain, how, folder=run.out))
        propose, vote = (each.build(plain, run.out) for each in (self.proposer, self.voter))
        judge = (
            None if self.judge == "votes" else choose_judge(self.judge, scorer=data.train.scorer, model=plain)
        )
        problems = drawn(data.train.rows, self.questions, run.seed)
        questions = [last_text(problem.prompt) for problem in problems]
        lineage: Lineage = run.state(lineage=Lineage())

        def written(name: str, author: Author, prompts: Sequence[Prompt], r: int) -> list[Written]:
            """A durable stage's texts, counted; a limit that they might pass ends the search."""
            used = lineage.used(r)
            if self.limits.calls and used["calls"] + len(prompts) > self.limits.calls:
                raise Stopped("calls")
            if self.limits.tokens and used["tokens"] + author.most(prompts) > self.limits.tokens:
                raise Stopped("tokens")
            texts = run.stage(name, lambda: author(prompts, derive(run.seed, name, r)))
            lineage.spend(r, totals(texts))
            return texts

        def answered(prompt: str, r: int) -> list[Written]:
            return written("answer", execute, [with_instruction(p.prompt, prompt) for p in problems], r)

        def compared(old: list[str], new: list[Written], r: int) -> dict[str, Any]:
            """Whether the new answers are accepted, and why."""
            if judge is not None:
                rewards = run.stage("judge", lambda: judge(problems, _both(old, new)).rewards.tolist())
                before, after = (_mean([pair[at] for pair in rewards]) for at in (0, 1))
                return {"accepted": after > before, "why": f"{self.judge}: {after:g} against {before:g}"}
            swaps, texts = _swaps(self.votes, run.seed, r), [each["text"] for each in new]
            ballots = [
                ballot(self.requirements, questions, old, texts, swapped=s, sketch=self.sketch, guarded=self.guarded)
                for s in swaps
            ]  # fmt: skip
            replies = [each["text"] for each in written("vote", vote, [text for text, _ in ballots], r)]
            votes = [new_wins(choice(reply, tag), s) for reply, (_, tag), s in zip(replies, ballots, swaps)]
            why = f"{sum(votes)} of {self.votes} votes for it"
            return {"votes": votes, "judgements": replies, "accepted": strict_majority(votes), "why": why}

        for r in run.rounds(self.rounds + 1):
            if lineage.stopped or lineage.holds(r):
                continue
            row: dict[str, Any] = {
                "round": r,
                "parent": lineage.best,
                "prompt": None,
                "accepted": r == 0,
                "why": "",
            }
            try:
                if r == 0:
                    row["prompt"] = self._start(model)
                    row["answers"] = [each["text"] for each in answered(row["prompt"], r)]
                else:
                    self._whole_round(lineage, len(problems), r)
                    request, tag = request_for(
                        self.requirements, lineage.prompt, listed(questions, lineage.answers),
                        sketch=self.sketch, words=self.words, guarded=self.guarded,
                    )  # fmt: skip
                    reply = written("propose", propose, [request], r)[0]["text"]
                    row |= {"prompt": proposed(reply, tag), "modification": modification(reply)}
                    row["why"] = self._fault(row["prompt"], lineage.prompt)
                    if not row["why"]:
                        row["prompt"] = row["prompt"] or ""
                        new = answered(row["prompt"], r)
                        row["answers"] = [each["text"] for each in new]
                        row |= compared(lineage.answers, new, r)
            except Stopped as limit:
                if r == 0:
                    raise CounterpointError(
                        f"{self.key}: limits.calls={self.limits.calls}, limits.tokens={self.limits.tokens}, and answering "
                        f"{len(problems)} questions once may take more; raise limits.{limit}, or set it to 0 for none"
                    ) from None
                row["why"] = f"stopped: the limit of {limit}"
            run.once("lineage", partial(lineage.add, row))
            self._write(lineage, run)
        self._write(lineage, run)
        run.report(lineage=lineage.table(), **lineage.figures())
        return Instructed(plain, lineage.prompt)

    def _write(self, lineage: Lineage, run: Run) -> None:
        if run.rank == 0:
            lineage.write(run.out, self.requirements)

    def _whole_round(self, lineage: Lineage, questions: int, r: int) -> None:
        """Calls are known beforehand: a round that would not be finished is not begun."""
        calls = 1 + questions + (self.votes if self.judge == "votes" else 0)
        if self.limits.calls and lineage.used(r)["calls"] + calls > self.limits.calls:
            raise Stopped("calls")

    def _fault(self, prompt: str | None, old: str) -> str:
        """Why a proposal is not worth trying; the published contract tries every one, an empty prompt, too."""
        if not self.guarded:
            return ""
        return (
            "the proposal holds no prompt" if not prompt else "it is the old prompt" if prompt == old else ""
        )

    def _plain(self, model: Language) -> Language:
        if type(model) not in (Language, Instructed):
            raise CounterpointError(
                f"{self.key}: the model is a {type(model).__name__}, and an instruction is kept for plain causal models; give a "
                "folder with a causal language model"
            )
        return Language(model.causal, model.tokenizer, runs=model.runs, max_length=model.max_length)

    def _start(self, model: Language) -> str:
        if self.prompt is not None:
            return self.prompt
        return model.instruction if isinstance(model, Instructed) else THINK


def drawn(rows: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """So many of the rows by the seed, in the data's order; all of them where there are no more."""
    chosen = sorted(random.Random(derive(seed, "questions")).sample(range(len(rows)), min(count, len(rows))))
    return [rows[at] for at in chosen]


def _swaps(votes: int, seed: int, r: int) -> list[bool]:
    draws = random.Random(derive(seed, "order", r))
    return [draws.random() < 0.5 for _ in range(votes)]


def _both(old: Sequence[str], new: Sequence[Written]) -> list[list[Answer]]:
    """The old and the new answer to each question, as a judge reads them."""
    return [
        [
            Answer(ids=[], text=one, ended=True),
            Answer(ids=other["ids"], text=other["text"], ended=other["ended"]),
        ]
        for one, other in zip(old, new, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    valid = [value for value in values if value == value]
    return sum(valid) / len(valid) if valid else 0.0
