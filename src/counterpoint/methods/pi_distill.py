"""pi-Distill and OPSD: a model that is shown privileged information, and the same model that is not, train together.

    pi-Distill   max  alpha J_T + (1 - alpha) J_S,   J_T = E_{o ~ pi^T} R - beta KL(pi^T || sg pi^S),   J_S the same
                 completions, importance-weighted by pi^S / sg pi^T                       (arXiv 2602.04942, eq. 2-4)
    OPSD         max  E_{o ~ pi^S} R - beta KL(pi^S || sg pi^T)                           (eq. 5)

pi^T(o|s, I) and pi^S(o|s) are one set of weights with two prompts, so every gain of one reaches the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.problems import Problem, ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, Source
from counterpoint.judges import penalties
from counterpoint.judges.choose import judge
from counterpoint.judges.weighted import weighted
from counterpoint.methods.base import Method, Search
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.distillation.privileged import (
    joint,
    shaped_rewards,
    surrogate,
    teacher_to_student,
    towards_teacher,
)
from counterpoint.objectives.preference.advantage import combine
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import Aggregation, aggregate, sequence_sum
from counterpoint.pairs import privileged as shown
from counterpoint.phases.policy_gradient import group_advantages, rows_of
from counterpoint.phases.rollouts import Rollouts, judge_group, sample_group
from counterpoint.phases.two_views import Views
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch


@dataclass
class Information:
    """What the teacher is shown.

    Attributes:
        source: "context", the rows' column ``privileged_context``; "solution", their reference; "written", a hint that the
            model itself writes from the reference before the training. Rows without any are learnt from by reward alone.
        template: the teacher's prompt, with {information}; with {prompt} too it replaces the last message, else it is a
            system message.
        request: how the model is asked for a hint, with {prompt} and {information}.
    """

    source: Literal["context", "solution", "written"] = "context"
    template: str = shown.SYSTEM
    request: str = shown.WRITE


@dataclass
class Pull:
    """The KL between the two views.

    Attributes:
        beta: its weight; None is 0.25 for pi-distill and 0.5 for opsd.
        where: "reward", or "loss" (opsd only), where it is differentiated; None is the objective's own, reward for pi-distill
            and loss for opsd.
        reduction: in the reward, the "sum" over a completion's tokens or their "mean".
        reference: "current", the other view of the model as it is now, or "frozen", of the model as it was given.
        entropy: c in CE(pi^S, pi^T) - c H(pi^S); 1 is the KL. Of the loss alone.
    """

    beta: float | None = None
    where: Literal["reward", "loss"] | None = None
    reduction: Literal["sum", "mean"] = "sum"
    reference: Literal["current", "frozen"] = "current"
    entropy: float = 1.0


@dataclass
class Ratio:
    """How token ratios become losses.

    Attributes:
        low, high: ratios are clipped to [1 - low, 1 + high].
        dual: a token with a negative advantage costs at most this many times its size; None has no such bound.
        aggregation: of token losses, as of ``objectives.tokens.aggregate``.
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None
    aggregation: Aggregation = "token_mean"


@dataclass
class Penalty:
    """What is subtracted from rewards.

    Attributes:
        leak: for each keyword in a completion. keywords: those that betray the information, separated by commas.
        length: what a completion of ``long`` tokens costs, of those with a reward above 0. free: tokens that cost nothing.
        long: see length.
    """

    leak: float = 0.1
    keywords: str = "<privileged>, privileged information, secret information"
    length: float = 0.1
    free: int = 2000
    long: int = 5000


@dataclass(kw_only=True)
class PiDistill(Method[Language, ProblemData]):
    """Learn without the information what one can do with it.

    Attributes:
        objective: "pi-distill" follows the teacher's completions, "opsd" the student's.
        alpha: 1 trains the teacher's view alone, 0 the student's; of pi-distill.
        anneal: sampling rounds over which an alpha between 0 and 1 rises from 0.
        judge: where rewards come from, as of ``grpo``.
        answers: completions per prompt, over which rewards are compared. steps: gradient steps on each round of them.
        batch_size: prompts of a round.
        sampler: who writes hints before the training, the model itself or a server; completions that are learnt from are
            always the model's own.
    """

    key: ClassVar[str] = "pi-distill"
    search: ClassVar[Search] = {
        "learning_rate": (1e-6, 1e-3),
        "kl.beta": [0.1, 0.25, 0.5],
        "alpha": [0.0, 0.5, 1.0],
    }

    objective: Literal["pi-distill", "opsd"] = "pi-distill"
    alpha: float = 0.5
    anneal: int = 15
    information: Information = field(default_factory=Information)
    kl: Pull = field(default_factory=Pull)
    ratio: Ratio = field(default_factory=Ratio)
    penalty: Penalty = field(default_factory=Penalty)
    judge: str = "verifier"
    answers: int = 5
    steps: int = 3
    temperature: float = 0.75
    max_new_tokens: int = 2048
    lora_rank: int = 0
    learning_rate: float = 5e-6
    batch_size: int = 64
    epochs: float = 1.0
    sampler: Source = field(default_factory=Source)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Sample with (pi-distill) or without (opsd) the information, judge, train both views."""
        self._check(data.train.rows)
        # Without dropout: what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed).eval()
        given = run.constant(Frozen(model)).model
        policy = run.state(model=model)
        why = "" if self.information.source == "written" else (
            "it learns from what the model itself says at this step"
        )  # fmt: skip
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        self.sampler.build(self.key, policy, how, on_policy=why)
        judges = weighted(
            self.judge,
            lambda name: judge(name, scorer=data.train.scorer, model=policy, reference=given),
            self.key,
        )
        texts = self._information(given, data.train.rows, run)
        rule = Optimizer(learning_rate=self.learning_rate, schedule="constant", max_grad_norm=1.0)
        run.optimize(policy, rule)
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            student = [row.prompt for row in batch.items]
            teacher = [
                shown.with_information(row, texts[at], self.information.template)
                for row, at in zip(batch.items, batch.index.tolist())
            ]
            acting = student if self.objective == "opsd" else teacher
            draws = batch.random.uniform(self.answers * self.max_new_tokens)
            rollouts = sample_group(Own(policy, how), batch.items, self.answers, draws, acting)
            rewards_NK, _ = judge_group(run, [each.judge for each in judges], rollouts)
            weights = rewards_NK.new_tensor([each.weight for each in judges])
            rewards, stats = self._penalised(combine(rewards_NK, weights), rollouts)
            views = Views.of(
                policy,
                [prompt for prompt in teacher for _ in range(self.answers)],
                [prompt for prompt in student for _ in range(self.answers)],
                rollouts.completions,
                temperature=self.temperature,
            )
            self._learn(run, policy, given, views, rewards, stats, batch)
        return policy

    def _learn(
        self,
        run: Run,
        policy: Language,
        given: Language,
        views: Views,
        rewards: Tensor,
        stats: dict[str, Tensor],
        batch: Batch,
    ) -> None:
        """The gradient steps on one round of completions [N]; log-probabilities before the first are the old ones."""
        opsd = self.objective == "opsd"
        other = given if self.kl.reference == "frozen" else policy
        teacher = views.constant(other if opsd else policy, "teacher", run)
        student = views.constant(policy if opsd else other, "student", run)
        old = views.log_probs(student if opsd else teacher)
        kl_NT = teacher_to_student(
            *((student, teacher) if opsd else (teacher, student)), views.mask, temperature=self.temperature
        )
        stats["kl"] = sequence_sum(kl_NT, views.mask)
        if self._where == "reward":
            rewards = shaped_rewards(rewards, kl_NT, views.mask, self._beta, self.kl.reduction)
        advantage = group_advantages(run, rewards[:, None], self.answers, "none").to(old.dtype)
        # A group whose completions are all as good as each other says nothing, and does not count as tokens either.
        telling = (advantage.reshape(-1, self.answers) != 0).any(-1).repeat_interleave(self.answers)
        stats["telling"] = telling.to(old.dtype)
        # By the row's number in the global batch: the same parts on any number of processes.
        parts = min(self.steps, batch.size)
        part = (torch.arange(len(batch.items), device=run.device) + run.row_offset) % parts
        for number in range(parts):
            rows = rows_of((part == number).nonzero().squeeze(1), self.answers)
            mine = views[rows]
            mask = mine.mask & telling[rows][:, None]
            given_rows = (mine, old[rows], advantage[rows], mask, run, policy)
            terms = (
                self._on_policy(*given_rows, other) if opsd else self._joint(*given_rows, self._alpha(batch))
            )
            first = next(iter(terms))
            terms[first] = replace(terms[first], stats={name: each[rows] for name, each in stats.items()})
            run.step(terms, tokens=int(mine.mask.sum()))

    def _joint(
        self,
        views: Views,
        old: Tensor,
        advantage: Tensor,
        mask: Tensor,
        run: Run,
        policy: Language,
        alpha: float,
    ) -> dict[str, Loss]:
        """Eq. 4: both views on the teacher's completions; a view of weight 0 gets no gradient."""
        scores = (views.scores if alpha > 0 else views.constant)(policy, "teacher", run)
        teacher_logp, teacher, student = views.log_probs(scores), None, None
        if alpha > 0:
            teacher = self._surrogate(teacher_logp, old, advantage, mask)
        if alpha < 1:
            student_logp = views.log_probs(views.scores(policy, "student", run))
            student = self._surrogate(student_logp, teacher_logp, advantage, mask)
        return joint(teacher, student, alpha)

    def _on_policy(
        self,
        views: Views,
        old: Tensor,
        advantage: Tensor,
        mask: Tensor,
        run: Run,
        policy: Language,
        other: Language,
    ) -> dict[str, Loss]:
        """Eq. 5: the student's completions, pulled towards what the teacher makes of them."""
        scores = views.scores(policy, "student", run)
        terms = {"policy": self._surrogate(views.log_probs(scores), old, advantage, mask)}
        if self._where == "loss" and self._beta:
            pull = towards_teacher(
                scores,
                views.constant(other, "teacher", run),
                views.mask,
                entropy_coefficient=self.kl.entropy,
                temperature=self.temperature,
            )
            terms["pull"] = replace(aggregate(pull, views.mask, "token_mean"), weight=self._beta)
        return terms

    def _surrogate(self, logp: Tensor, against: Tensor, advantage: Tensor, mask: Tensor) -> Loss:
        return surrogate(
            logp,
            against,
            advantage,
            mask,
            low=self.ratio.low,
            high=self.ratio.high,
            dual_clip=self.ratio.dual,
            aggregation=self.ratio.aggregation,
            max_length=self.max_new_tokens,
        )

    @property
    def _beta(self) -> float:
        own = 0.5 if self.objective == "opsd" else 0.25
        return own if self.kl.beta is None else self.kl.beta

    @property
    def _where(self) -> str:
        return self.kl.where or ("loss" if self.objective == "opsd" else "reward")

    def _alpha(self, batch: Batch) -> float:
        rising = 0.0 < self.alpha < 1.0 and self.anneal > 0
        return self.alpha * min(1.0, batch.step / self.anneal) if rising else self.alpha

    def _penalised(self, rewards: Tensor, rollouts: Rollouts) -> tuple[Tensor, dict[str, Tensor]]:
        """Rewards [N] less what leaks and length cost, and what is logged of them."""
        on, keywords = self.penalty, penalties.keywords_of(self.penalty.keywords)
        leaks = [penalties.leakage(text, keywords, on.leak) for text in rollouts.texts]
        lengths = rollouts.completions.lengths.tolist()
        long = [penalties.length([tokens], on.length, on.free, on.long) for tokens in lengths]
        leak_N, long_N = rewards.new_tensor(leaks), rewards.new_tensor(long)
        less = leak_N + torch.where(rewards > 0, long_N, 0.0)
        stats = {"reward": rewards, "penalty": less, "length": rollouts.completions.lengths.to(rewards)}
        return rewards - less, stats

    def _information(self, model: Language, rows: list[Problem], run: Run) -> list[str]:
        """What the teacher is shown of every row; hints of the model's own are written once and kept."""
        source = self.information.source
        if source != "written":
            return [shown.information(row, source) for row in rows]
        how = Sampler(max_new_tokens=min(256, self.max_new_tokens), temperature=self.temperature)
        writer = self.sampler.build(self.key, model, how, folder=run.out)

        def write(index: Sequence[int]) -> list[str]:
            requests = [
                shown.with_information(rows[at], rows[at].reference, self.information.request) for at in index
            ]
            hints = model.texts(writer(requests, 1, row_draws(run.seed, index, how.max_new_tokens)))
            return [hint if rows[at].reference else "" for hint, at in zip(hints, index)]

        return run.stage("hints", write, over=range(len(rows)), size=16)

    def _check(self, rows: list[Problem]) -> None:
        """Refuse settings that do not go together."""
        self.demand(above_zero=["temperature"])
        for name, least in (("answers", 2), ("steps", 1)):
            if getattr(self, name) < least:
                raise CounterpointError(
                    f"{self.key}: {name}={getattr(self, name)}; expected at least {least}"
                    + (": a completion is compared with the others to its prompt" if least == 2 else "")
                )
        if self.alpha > 1:
            raise CounterpointError(
                f"{self.key}: alpha={self.alpha}; expected a number from 0 (student alone) to 1 (teacher alone)"
            )
        if self.objective == "pi-distill" and self.kl.where == "loss":
            raise CounterpointError(
                f"{self.key}: kl.where=loss, and pi-distill's KL is a part of the reward (algorithm 1); leave kl.where out, or "
                "set objective=opsd"
            )
        shown.require_information(
            rows, "context" if self.information.source == "context" else "solution", self.key
        )
        shown.check_template(self.information.template, "information")
        shown.check_template(self.information.request, "prompt", "information")
