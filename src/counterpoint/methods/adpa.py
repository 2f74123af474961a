"""ADPA: advantage-guided distillation for preference alignment (arXiv 2502.17927), with DCKD before it (ADPA+).

DCKD: L_SFT + alpha (KL_w + KL_l), a preference-trained teacher's distributions on chosen and rejected answers. ADPA: answers of the
student's own, and L_SFT + gamma L_adv with L_adv = -mean_t sum_a pi(a|s_t) A(s_t, a), A = log p+ - log p-: the teacher's log-ratio to
itself before its preference training is, token by token, an advantage.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from torch import Tensor

from counterpoint.data.language.preferences import PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.generation.answers import several_answers
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import CandidateSource
from counterpoint.kernels.vocabulary import divergence, log_probs
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.models.language.prompt_groups import answer_states
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.distillation.distribution_advantage import (
    advantage_loss,
    stored_advantage_loss,
    stored_forward_kl,
)
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate
from counterpoint.phases.preference.teacher_pair import Rows, StoredPair, TeacherPair
from counterpoint.phases.preference.terms import PreferenceTerms, scored_at_once
from counterpoint.tasks.preferences import TASK
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run


@dataclass
class Teachers:
    """The teacher pair.

    Attributes:
        before: the teacher before its preference training, a folder or a bundled name; empty: the student as it is given.
        after: after it; empty: trained here from the one before, by DPO on the data's pairs.
        beta, learning_rate, batch_size, epochs: of that training.
    """

    before: str = ""
    after: str = ""
    beta: float = 0.01
    learning_rate: float = 5e-7
    batch_size: int = 16
    epochs: float = 1.0


@dataclass(kw_only=True)
class ADPA(Method[Language, PreferenceData]):
    """Distil what preference training taught a teacher into a student.

    Attributes:
        form: "adpa+" (DCKD, then ADPA), "adpa", or "dckd".
        teachers: the pair, before and after preference training.
        alpha: weight of both divergences of DCKD. gamma: weight of the advantage.
        top_k: 0: teachers live, over the whole vocabulary, the paper's equations; K: their K likeliest entries, stored once (50 in
            the authors' program).
        advantage_clip: bounds of the advantage; the authors' program has 0 and 1, which takes all negative ones away.
        with_reference: whether the teacher before is compared with; without it A = log p+, the paper's ablation.
        reduction: "token" pools all answer tokens of a batch, "sequence" averages each answer first.
        max_new_tokens, temperature: of the student's own answers; temperature 0 is greedy.
        lora_rank: train adapters of this rank; 0 trains all weights. adapter: of those adapters.
        optimizer: how the weights move. sampler: where the student's answers come from.
    """

    key: ClassVar[str] = "adpa"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 2
    search: ClassVar[Search] = {"gamma": [0.4, 0.8, 1.6, 3.2], "learning_rate": (1e-7, 1e-4)}
    ablations: ClassVar[Ablations] = {
        "likelihoods of the dataset's answers": {"form": "adpa"},
        "distillation of both answers alone": {"form": "dckd"},
        "without the teacher before": {"with_reference": False},
        "advantages averaged by answer": {"reduction": "sequence"},
    }

    form: Literal["adpa+", "adpa", "dckd"] = "adpa+"
    teachers: Teachers = field(default_factory=Teachers)
    alpha: float = 0.1
    gamma: float = 1.6
    top_k: int = 0
    advantage_clip: tuple[float, float] | None = None
    with_reference: bool = True
    reduction: Literal["token", "sequence"] = "token"
    max_new_tokens: int = 2048
    temperature: float = 0.0
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 5e-7
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 32
    epochs: float = 1.0
    sampler: CandidateSource = field(default_factory=CandidateSource)

    def sequences(self) -> float:
        """The chosen and the rejected answer."""
        return 2.0

    def staged(self) -> float:
        """Where a teacher is made here, the answers that the one before scores for it; else those that are sampled."""
        return 16.0 if self.teachers.after else scored_at_once(DPO())

    def fit(self, model: Language, data: PreferenceData, run: Run) -> Language:
        """Make or open the teachers, then learn from them: on the data's answers, and on the student's own."""
        self.check(data)
        before = self._opened(self.teachers.before, model, data, run)
        made_here = not self.teachers.after
        after = copy.deepcopy(before) if made_here else self._opened(self.teachers.after, model, data, run)
        student = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        after = run.state(teacher=after.requires_grad_(True).eval()) if made_here else run.constant(after)
        before = run.constant(before)
        pair = TeacherPair(after, before if self.with_reference else None, student)
        phases: list[Callable[[], None]] = []
        if made_here:
            phases.append(lambda: self._prefer(after, data.train, run))
        if self.form != "adpa":
            phases.append(lambda: self._imitate(student, pair, data.train, run))
        if self.form != "dckd":
            phases.append(lambda: self._follow(student, pair, data.train, run))
        for number in run.rounds(len(phases)):
            phases[number]()
        return student

    def _prefer(self, teacher: Language, rows: Preferences, run: Run) -> None:
        """DPO of the teacher on the data's pairs, from the teacher before."""
        given = self.teachers
        how = DPO(beta=given.beta, batch_size=given.batch_size, epochs=given.epochs)
        terms = PreferenceTerms(how, self.key, teacher, rows, run)
        run.optimize(teacher, self.optimizer.at(given.learning_rate))
        for batch in run.batches(range(len(rows)), how.batch_size, epochs=how.epochs):
            losses, tokens = terms.of(batch.index, batch.items)
            run.step(losses, tokens=tokens)

    def _imitate(self, student: Language, pair: TeacherPair, rows: Preferences, run: Run) -> None:
        """DCKD: the teacher's distributions on chosen and rejected answers."""

        def tokens(index: Sequence[int]) -> tuple[Tokens, Tokens]:
            part = [rows[int(at)] for at in index]
            answers = [row.chosen for row in part] + [row.rejected for row in part]
            return student.rows([row.prompt for row in part] * 2, answers, answers=2)

        top: StoredPair | None = None
        if self.top_k:
            sides = [
                pair.stored(run, f"teacher-{side}", _one_side(student, rows, side), len(rows), self.top_k)
                for side in ("chosen", "rejected")
            ]
            top = StoredPair([*sides[0].rows, *sides[1].rows])
        run.optimize(student, self.optimizer.at(self.learning_rate))
        for batch in run.batches(range(len(rows)), self.batch_size, epochs=self.epochs):
            prompts, answers = tokens(batch.items)
            scores = student.scores(answer_states(student, prompts, answers, forward=run.forward))
            mask, half = answers.authored, len(batch.items)
            logp = log_probs(scores, answers.ids, mask=mask)
            if top is not None:
                numbers = [*map(int, batch.items), *(int(at) + len(rows) for at in batch.items)]
                kl = stored_forward_kl(scores, top.of(numbers, answers.ids), mask=mask)
            else:
                kl = divergence(scores, pair.live(prompts, answers, run.micro_batch_size)[0], mask=mask)
            run.step(
                {
                    "sft": nll(logp[:half].sum(1), mask[:half].sum(1)),
                    "chosen": self._mean(kl[:half], mask[:half], self.alpha),
                    "rejected": self._mean(kl[half:], mask[half:], self.alpha),
                },
                tokens=int(mask.sum()),
            )

    def _follow(self, student: Language, pair: TeacherPair, rows: Preferences, run: Run) -> None:
        """ADPA: the teachers' advantages at the student's own answers, which are sampled once."""
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        sampler = self.sampler.build(self.key, student, how, folder=run.out)

        def answered(shard: Sequence[int]) -> list[list[int]]:
            prompts = [rows[at].prompt for at in shard]
            drawn = several_answers(sampler, prompts, 1, seed=run.seed, numbers=shard)
            return [answer[0]["ids"] for answer in drawn]

        sampler.follow()
        own = run.stage("answers", answered, over=range(len(rows)), size=16)

        def tokens(index: Sequence[int]) -> tuple[Tokens, Tokens]:
            prompts = [rows[int(at)].prompt for at in index]
            return student.prompts(prompts), sampled(student, [own[int(at)] for at in index])

        stored = pair.stored(run, "teacher", tokens, len(rows), self.top_k) if self.top_k else None
        run.optimize(student, self.optimizer.at(self.learning_rate))
        for batch in run.batches(range(len(rows)), self.batch_size, epochs=self.epochs):
            part = rows[batch.index]
            chosen = student.rows([row.prompt for row in part], [row.chosen for row in part])
            logp = completion_log_probs(student, *chosen, forward=run.forward)
            prompts, answers = tokens(batch.items)
            scores = student.scores(answer_states(student, prompts, answers, forward=run.forward))
            mask = answers.authored
            if stored is not None:
                top = stored.of(batch.items, answers.ids)
                per_token = stored_advantage_loss(scores, top, clip=self.advantage_clip, mask=mask)
            else:
                teachers = pair.live(prompts, answers, run.micro_batch_size)
                per_token = advantage_loss(scores, *teachers, clip=self.advantage_clip, mask=mask)
            run.step(
                {
                    "sft": nll(logp.sum(1), chosen[1].authored.sum(1)),
                    "advantage": self._mean(per_token, mask, self.gamma),
                },
                tokens=int(mask.sum() + chosen[1].authored.sum()),
            )

    def _mean(self, per_token: Tensor, mask: Tensor, weight: float) -> Loss:
        how = "token_mean" if self.reduction == "token" else "sequence_mean"
        return replace(aggregate(per_token, mask, how), weight=weight)  # type: ignore[arg-type]

    def _opened(self, spec: str, student: Language, data: PreferenceData, run: Run) -> Language:
        if not spec:
            return Frozen(student).model
        model = TASK.load_model(spec, data, run.seed)
        if not isinstance(model, Language):
            raise CounterpointError(
                f"{self.key}: {spec} holds a {type(model).__name__}, and a teacher writes: give a causal language model"
            )
        return model

    def check(self, data: PreferenceData) -> None:
        """Refuse settings that contradict each other or the data."""
        if not data.train.paired:
            raise CounterpointError(
                f"{self.key}: it learns from pairs, and this data has single answers with a label; give 'chosen' and 'rejected'"
            )
        if self.advantage_clip is not None and not self.advantage_clip[0] < self.advantage_clip[1]:
            raise CounterpointError(
                f"{self.key}: advantage_clip={self.advantage_clip}; expected a lower and a higher bound, for example 0,1"
            )


def _one_side(student: Language, rows: Preferences, side: str) -> Rows:
    def tokens(index: Sequence[int]) -> tuple[Tokens, Tokens]:
        part = [rows[int(at)] for at in index]
        return student.rows([row.prompt for row in part], [getattr(row, side) for row in part])

    return tokens
