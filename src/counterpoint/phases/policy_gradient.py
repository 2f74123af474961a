"""A policy-gradient update on groups of completions: advantages, token losses, steps; ``rollouts`` samples and judges them.

Every piece can be called by itself: a method with turns, hints or rewards of its own takes those that fit and writes the
others. ``methods/baselines/grpo.py`` is the shortest composition of all of them. Shapes as in ``rollouts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from counterpoint.kernels.vocabulary import entropy, log_probs, log_probs_and_entropy
from counterpoint.models.language.language import Language
from counterpoint.models.language.prompt_groups import answer_states
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.advantage import Kind, advantages
from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.preference.policy import high_entropy, on_policy, policy_gradient
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate, sequence_mean
from counterpoint.phases.distillation.engine_weighing import weighed
from counterpoint.phases.rollouts import Rollouts
from counterpoint.teachers.answering import completion_scores
from counterpoint.training import Run


@dataclass
class Clip:
    """Bounds of the importance ratio.

    Attributes:
        low, high: the ratio stays in [1 - low, 1 + high]; None takes the variant's. For cispo, ``high`` is the cap itself.
        delta: caps the ratio where the advantage is negative, which is otherwise unbounded; None does not.
        threshold: a completion with a negative advantage is dropped when its log-probability has fallen by more than this
            on average since it was sampled; None keeps all.
    """

    low: float | None = None
    high: float | None = None
    delta: float | None = None
    threshold: float | None = None


@dataclass
class Penalty:
    """KL to the reference, which is the model as it was given.

    Attributes:
        weight: None takes the variant's own; 0 needs no reference.
        kind: the estimator, k1, k2 or k3 (``objectives.preference.kl_estimate`` says what each of them is as a loss).
        corrected: multiply the estimate by the importance ratio, so that its gradient is the reverse KL's.
        target: "loss", or "reward" (the sampled sequence's k1, as RLOO has it); None takes the variant's own.
    """

    weight: float | None = None
    kind: Literal["k1", "k2", "k3"] = "k3"
    corrected: bool = False
    target: Literal["loss", "reward"] | None = None


@dataclass
class Entropy:
    """The policy's entropy.

    Attributes:
        weight: of the bonus, the mean entropy of the sampled tokens.
        share: below 1, only this share of tokens with the highest entropy is learnt from.
    """

    weight: float = 0.0
    share: float = 1.0


def group_advantages(
    run: Run, rewards_NK: Tensor, group: int, kind: Kind, weights: Sequence[float] | None = None
) -> Tensor:
    """Return [N] advantages of this rank's rows; means and deviations are over all ranks' rows where the rule says batch."""
    weights_K = None if weights is None else rewards_NK.new_tensor(list(weights))
    every_NK = run.gather_constant(rewards_NK)
    start = run.row_offset * group
    return advantages(every_NK, group, kind, weights_K)[start : start + len(rewards_NK)]


@dataclass(frozen=True)
class Update:
    """How completions with advantages become losses and steps; made once, at the top of ``fit``.

    Attributes:
        variant: a name of ``objectives.preference.policy.VARIANTS``.
        temperature: of sampling.
        max_length: the longest allowed completion; ``dr_grpo`` divides by it.
        clip, entropy: see there.
        kl, kl_kind, kl_corrected: weight and kind of a KL in the loss; 0 needs no reference.
        iterations: passes over a batch of completions. minibatches: steps that each of them is made of.
        cap: of the weights of tokens that another engine sampled (``mismatch.engine_weights``); None where the policy did.
    """

    variant: str
    temperature: float = 1.0
    max_length: int | None = None
    clip: Clip = field(default_factory=Clip)
    kl: float = 0.0
    kl_kind: Literal["k1", "k2", "k3"] = "k3"
    kl_corrected: bool = False
    entropy: Entropy = field(default_factory=Entropy)
    iterations: int = 1
    minibatches: int = 1
    cap: float | None = None

    def losses(
        self,
        run: Run,
        policy: Language,
        prompts: Tokens,
        completions: Tokens,
        advantage_N: Tensor,
        *,
        mask_NT: Tensor | None = None,
        old_NT: Tensor | None = None,
        reference_NT: Tensor | None = None,
        weight_NT: Tensor | None = None,
    ) -> dict[str, Loss]:
        """The named terms of one step: "policy", with its KL, and "entropy" where there is a bonus.

        Args:
            prompts: [N, P] left-padded. completions: [N, T] right-padded.
            advantage_N: one a completion.
            mask_NT: the tokens that are learnt from; None takes what the model wrote.
            old_NT: log-probabilities before the first step on this batch; None where this is the only one.
            reference_NT: the reference's; needed with a KL.
            weight_NT: factors on the tokens' losses.
        """
        mask = completions.authored if mask_NT is None else mask_NT.bool()
        scores = policy.scores(answer_states(policy, prompts, completions, forward=run.forward))
        keep: Tensor | None = None
        if self.entropy.weight:
            spread = entropy(scores, temperature=self.temperature, mask=mask)
            logp = log_probs(scores, completions.ids, temperature=self.temperature, mask=mask)
        else:
            logp, spread = log_probs_and_entropy(
                scores, completions.ids, temperature=self.temperature, mask=mask
            )
        if self.entropy.share < 1:
            keep = high_entropy(spread, mask, self.entropy.share, gather=run.gather_constant)
        if self.clip.threshold is not None and old_NT is not None:
            near = on_policy(logp, old_NT, advantage_N, mask, self.clip.threshold)[:, None].expand_as(mask)
            keep = near if keep is None else keep & near
        policy_loss = policy_gradient(
            logp,
            advantage_N.to(logp.dtype),
            mask,
            self.variant,
            old_BT=old_NT,
            low=self.clip.low,
            high=self.clip.high,
            delta=self.clip.delta,
            max_length=self.max_length,
            keep_BT=keep,
            weight_BT=weight_NT,
            reference_BT=reference_NT,
            kl=self.kl,
            kl_kind=self.kl_kind,
            kl_corrected=self.kl_corrected,
        )
        policy_loss.stats["entropy"] = sequence_mean(spread.detach(), mask)
        if reference_NT is not None:
            policy_loss.stats["kl"] = sequence_mean(kl_estimate(logp.detach(), reference_NT), mask)
        terms = {"policy": policy_loss}
        if self.entropy.weight:
            bonus = aggregate(spread, mask, "token_mean")
            terms["entropy"] = Loss(bonus.values, bonus.counts, weight=-self.entropy.weight)
        return terms

    def learn(
        self,
        run: Run,
        policy: Language,
        rollouts: Rollouts,
        advantage_N: Tensor,
        *,
        reference: Language | None = None,
        skip_N: Tensor | None = None,
        stats: dict[str, Tensor] | None = None,
    ) -> None:
        """All steps on one batch of groups.

        Args:
            policy: in evaluation mode, so that what was sampled is what is trained.
            rollouts: this rank's.
            advantage_N: one a completion.
            reference: of the KL in the loss.
            skip_N: completions that are not learnt from (cut ones).
            stats: figures a completion [N], logged as means.
        """
        rows = torch.arange(len(rollouts.problems), device=run.device)
        # By the row's number in the global batch: the same parts on any number of processes.
        part = (rows + run.row_offset) % self.minibatches
        total = len(run.gather_constant(rows))  # of a last batch of fewer rows than parts, some have none
        prompts, completions, pieces = (
            policy.prompts(rollouts.prompts),
            rollouts.completions,
            run.micro_batch_size,
        )
        mask, old, fixed, weight = completions.authored, None, None, None
        if skip_N is not None:
            mask = mask & ~skip_N.to(mask.device)[:, None]
        if self.iterations * self.minibatches > 1 or self.cap is not None:
            old = policy_log_probs(policy, prompts, completions, self.temperature, at_once=pieces)
        if self.kl and reference is not None:
            fixed = policy_log_probs(reference, prompts, completions, self.temperature, at_once=pieces)
        if self.cap is not None and old is not None:
            weight, figures = weighed(old, completions.log_probs, mask, self.cap)
            stats = {**(stats or {}), **figures}
        for _ in range(self.iterations):
            for number in range(min(self.minibatches, total)):
                inside: Tensor | slice = slice(None)
                if self.minibatches > 1:
                    inside = rows_of(rows[part == number], rollouts.count)
                terms = self.losses(
                    run,
                    policy,
                    prompts[inside],
                    completions[inside],
                    advantage_N[inside],
                    mask_NT=mask[inside],
                    old_NT=None if old is None else old[inside],
                    reference_NT=None if fixed is None else fixed[inside],
                    weight_NT=None if weight is None else weight[inside],
                )
                terms["policy"].stats.update({name: each[inside] for name, each in (stats or {}).items()})
                run.step(terms, tokens=int(mask[inside].sum()))


def rows_of(groups: Tensor, count: int) -> Tensor:
    """Positions of the completions of some groups.

    >>> rows_of(torch.tensor([0, 2]), 3).tolist()
    [0, 1, 2, 6, 7, 8]
    """
    return (groups[:, None] * count + torch.arange(count, device=groups.device)).flatten()


def policy_log_probs(
    model: Language,
    prompts: Tokens,
    completions: Tokens,
    temperature: float = 1.0,
    *,
    at_once: int | None = None,
) -> Tensor:
    """[N, T] log-probabilities of completions under a model, without gradient; 0 on padding.

    Args:
        temperature: of sampling. at_once: rows that go through the model at a time.
    """
    answer = completion_scores(model, prompts, completions, at_once)
    return log_probs(answer, completions.ids, temperature=temperature, mask=completions.authored)
