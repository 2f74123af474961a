"""An update of two views of one model on the same completions: pi-Distill, OPSD, imitation (arXiv 2602.04942).

N completions of groups of G, T tokens. ``methods.pi_distill`` composes it; the losses are
``objectives.distillation.privileged``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from counterpoint.generation.sampler import Sampled
from counterpoint.models.language.language import Language
from counterpoint.objectives.distillation.privileged import (
    joint,
    shaped_rewards,
    surrogate,
    teacher_to_student,
    towards_teacher,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import Aggregation, aggregate, sequence_sum
from counterpoint.phases.distillation.engine_weighing import scaled, weighed
from counterpoint.phases.policy_gradient import group_advantages, rows_of
from counterpoint.phases.two_views import Views
from counterpoint.training import Run

Objective = Literal["pi-distill", "opsd", "imitation"]


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


@dataclass(frozen=True)
class TwoViewUpdate:
    """How completions with rewards become steps; made once, at the top of ``fit``.

    Attributes:
        objective: "imitation" raises the student's likelihood of the completions with a reward above 0.
        group: G. steps: gradient steps on a round of completions, each on its own part of the prompts.
        kl, ratio: see there. max_length: what the aggregation "constant" divides by.
        cap: of the weights of tokens that another engine sampled (``mismatch.engine_weights``); None where the policy did. What is imitated
            is a text, whoever wrote it, and is not weighed.
    """

    objective: Objective
    group: int
    steps: int
    kl: Pull = field(default_factory=Pull)
    ratio: Ratio = field(default_factory=Ratio)
    max_length: int = 1
    cap: float | None = None

    @property
    def beta(self) -> float:
        """Weight of the KL: the one that was given, else the objective's."""
        own = {"pi-distill": 0.25, "opsd": 0.5}.get(self.objective, 0.0)
        return own if self.kl.beta is None else self.kl.beta

    @property
    def where(self) -> str:
        """Whether the KL is a part of the reward or of the loss."""
        return self.kl.where or ("loss" if self.objective == "opsd" else "reward")

    def learn(
        self,
        run: Run,
        policy: Language,
        given: Language,
        views: Views,
        rewards: Tensor,
        *,
        alpha: float,
        prompts: int,
        stats: dict[str, Tensor],
    ) -> Tensor:
        """All steps on one round, and the advantages [N]; log-probabilities before the first are the old ones.

        Args:
            policy: in evaluation mode. given: the model as it was given, for ``kl.reference=frozen``.
            views: [N] this rank's completions after both prompts. rewards: [N], NaN where nobody could judge.
            alpha: weight of the teacher's term. prompts: of the round on all processes.
            stats: figures a completion [N], logged as means.
        """
        student_acts = self.objective == "opsd"
        other = given if self.kl.reference == "frozen" else policy
        teacher = views.constant(other if student_acts else policy, "teacher", run)
        student = views.constant(policy if student_acts else other, "student", run)
        old = views.log_probs(student if student_acts else teacher)
        acting, beside = (student, teacher) if student_acts else (teacher, student)
        kl_NT = teacher_to_student(acting, beside, views.mask, temperature=views.temperature)
        stats = {**stats, "kl": sequence_sum(kl_NT, views.mask)}
        factors: Tensor | None = None
        if self.cap is not None and isinstance(views.completions, Sampled):
            factors, figures = weighed(old, views.completions.log_probs, views.mask, self.cap)
            stats.update(figures)
        if self.where == "reward":
            rewards = shaped_rewards(rewards, kl_NT, views.mask, self.beta, self.kl.reduction)
        if self.objective == "imitation":
            advantage = (stats["reward"] > 0).to(old.dtype)
        else:
            advantage = group_advantages(run, rewards[:, None], self.group, "none").to(old.dtype)
        # A group whose completions are all as good as each other says nothing, and does not count as tokens either.
        telling = (advantage.reshape(-1, self.group) != 0).any(-1).repeat_interleave(self.group)
        stats["telling"] = telling.to(old.dtype)
        # By the row's number in the global batch: the same parts on any number of processes.
        parts = min(self.steps, prompts)
        part = (torch.arange(len(views) // self.group, device=run.device) + run.row_offset) % parts
        for number in range(parts):
            rows = rows_of((part == number).nonzero().squeeze(1), self.group)
            mine, factor = views[rows], None if factors is None else factors[rows]
            # Not beside a KL in the loss, whose weight is against the mean reward of all completions (eq. 5).
            mask = mine.mask if self.where == "loss" else mine.mask & telling[rows][:, None]
            if self.objective == "pi-distill":
                terms = self._joint(mine, old[rows], advantage[rows], mask, factor, run, policy, alpha)
            elif student_acts:
                terms = self._on_policy(mine, old[rows], advantage[rows], mask, factor, run, policy, other)
            else:
                logp = mine.log_probs(mine.scores(policy, "student", run))
                good = mine.mask & (advantage[rows] > 0)[:, None]
                terms = {"imitation": aggregate(-logp, good, "token_mean")}
            first = next(iter(terms))
            terms[first] = replace(terms[first], stats={name: each[rows] for name, each in stats.items()})
            run.step(terms, tokens=int(mine.mask.sum()))
        return advantage

    def _joint(
        self,
        views: Views,
        old: Tensor,
        advantage: Tensor,
        mask: Tensor,
        factor: Tensor | None,
        run: Run,
        policy: Language,
        alpha: float,
    ) -> dict[str, Loss]:
        """Eq. 4: both views on the teacher's completions; a view of weight 0 gets no gradient."""
        scores = (views.scores if alpha > 0 else views.constant)(policy, "teacher", run)
        teacher_logp, teacher, student = views.log_probs(scores), None, None
        if alpha > 0:
            teacher = self._surrogate(teacher_logp, old, advantage, mask, factor)
        if alpha < 1:
            student_logp = views.log_probs(views.scores(policy, "student", run))
            student = self._surrogate(student_logp, teacher_logp, advantage, mask, factor)
        return joint(teacher, student, alpha)

    def _on_policy(
        self,
        views: Views,
        old: Tensor,
        advantage: Tensor,
        mask: Tensor,
        factor: Tensor | None,
        run: Run,
        policy: Language,
        other: Language,
    ) -> dict[str, Loss]:
        """Eq. 5: the student's completions, pulled towards what the teacher makes of them."""
        scores = views.scores(policy, "student", run)
        terms = {"policy": self._surrogate(views.log_probs(scores), old, advantage, mask, factor)}
        if self.where == "loss" and self.beta:
            pull = towards_teacher(
                scores,
                views.constant(other, "teacher", run),
                views.mask,
                entropy_coefficient=self.kl.entropy,
                temperature=views.temperature,
            )
            terms["pull"] = replace(
                aggregate(scaled(pull, factor), views.mask, "token_mean"), weight=self.beta
            )
        return terms

    def _surrogate(
        self, logp: Tensor, against: Tensor, advantage: Tensor, mask: Tensor, factor: Tensor | None
    ) -> Loss:
        return surrogate(
            logp,
            against,
            advantage,
            mask,
            low=self.ratio.low,
            high=self.ratio.high,
            dual_clip=self.ratio.dual,
            aggregation=self.ratio.aggregation,
            max_length=self.max_length,
            weight_BT=factor,
        )
