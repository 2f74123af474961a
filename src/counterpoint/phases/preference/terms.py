"""The named terms of a step on pairs, for every method that learns from preferences: DPO's family, with its reference kept by the run.

Made before the policy is trained: the reference is the policy as it is then, whose log-probabilities of the rows that the budget will
use are computed once, in a durable stage. B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.data.language.preferences import Preference, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.choice import SHIFTED, WITH_LIKELIHOOD, Choice
from counterpoint.objectives.preference.graded import Graded
from counterpoint.objectives.preference.kto import kto, reference_point
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.preference import (
    REFERENCE_FREE,
    Pair,
    pairwise,
    preference_logit,
    reward_statistics,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import desensitised_sum, sequence_sum
from counterpoint.phases.reference import SHARD, reference_sums
from counterpoint.phases.reward_baseline import RewardBaseline
from counterpoint.training import Run
from counterpoint.training.batches import Order


class Settings(Choice, Protocol):
    """A loss with its settings and the loop it is used in; see ``methods.baselines.dpo.DPO``."""

    graded: Graded
    batch_size: int
    epochs: float


class PreferenceTerms:
    """A preference loss on rows of a data set.

    Args:
        chosen: the loss with its settings. key: of the method, for messages.
        policy: registered, without dropout, not trained yet. rows: pairs, or under kto also single answers.
        run: the run. order: of the loop over the rows, where it is not the usual one.

    Raises:
        CounterpointError: a setting that the loss does not read; rows that it cannot learn from.
    """

    def __init__(
        self,
        chosen: Settings,
        key: str,
        policy: Language,
        rows: Preferences,
        run: Run,
        order: Order | None = None,
    ) -> None:
        self.chosen, self.policy, self.rows, self.run, self.order = chosen, policy, rows, run, order
        check_rows(chosen, rows, key)
        self.name, weight = WITH_LIKELIHOOD.get(chosen.loss, (chosen.loss, 0.0))
        self.sft_weight = weight if chosen.sft_weight is None else chosen.sft_weight
        self.rewards: RewardBaseline | None = None
        if self.name == SHIFTED:
            self.name, self.rewards = "bco_pair", run.state(rewards=RewardBaseline(decay=None))
        # KTO's reference point needs two rows: a last batch of one would have none.
        self.drop_last = self.name == "kto"
        self.reference: Tensor | None = None
        if self.name not in REFERENCE_FREE:
            # [N, 2 or 4]: chosen, rejected, and under kto the two mismatched
            self.reference = reference_sums(
                run,
                policy,
                lambda shard: self._tokens(rows, shard),
                run.stage("rows", self._ahead),
                len(rows),
                self._reduce,
                f"length_weight={chosen.length_weight}" if chosen.length_weight != 1.0 else "",
            )

    def of(self, index: Tensor, items: Sequence[int]) -> tuple[dict[str, Loss], int]:
        """The terms of a batch and how many tokens it learns from.

        Args:
            index: [B], numbers of its rows. items: the same, as a batch over row numbers has them.
        """
        chosen, rows = self.chosen, self.rows
        fixed = None if self.reference is None else self.reference[index].to(self.run.device)
        prompts, answers = self._tokens(rows, items)
        token_logp = completion_log_probs(self.policy, prompts, answers, forward=self.run.forward)
        sums_R, lengths_R = self._reduce(token_logp, answers), answers.authored.sum(1)
        if self.name == "kto" and fixed is not None:
            before = [rows[(int(number) - 1) % len(rows)] for number in items]
            terms = self._kto(sums_R, fixed, rows[index], before)
        else:
            pair = Pair(
                *sums_R.chunk(2),
                *((None, None) if fixed is None else (fixed[:, 0], fixed[:, 1])),
                *lengths_R.chunk(2),
            )
            values = self._values(pair, rows[index])
            terms = {"preference": Loss(values, stats=reward_statistics(pair, chosen.beta))}
        if self.sft_weight:
            half = len(items)
            whole = sequence_sum(token_logp, answers.authored)[:half]
            terms["sft"] = nll(whole, lengths_R[:half], chosen.sft_mean, weight=self.sft_weight)  # type: ignore[arg-type]
        return terms, int(answers.authored.sum())

    def _values(self, pair: Pair, rows: list[Preference]) -> Tensor:
        chosen = self.chosen
        if chosen.graded.reads:
            logit_B = preference_logit(pair, beta=chosen.beta, link=chosen.link)
            margin_B = torch.tensor([row.margin or 0.0 for row in rows]).to(logit_B)
            tie_B = torch.tensor([row.tie for row in rows], dtype=torch.bool, device=logit_B.device)
            return chosen.graded.losses(logit_B, margin_B, tie_B)
        return pairwise(
            self.name,
            pair,
            beta=chosen.beta,
            smoothing=chosen.smoothing,
            margin=chosen.margin,
            link=chosen.link,
            shift=0.0 if self.rewards is None else self._shift(pair, self.rewards),
        )

    def _shift(self, pair: Pair, rewards: RewardBaseline) -> Tensor:
        """Mean implicit reward of all answers so far, this batch's of every process among them."""
        rewards.advantages(self.run.gather_constant(self.chosen.beta * torch.cat(pair.ratios()).detach()))
        return rewards.mean.to(pair.chosen)

    def _tokens(self, rows: Preferences, index: Sequence[int]) -> tuple[Tokens, Tokens]:
        """Prompts and answers as one batch: all chosen, all rejected, and under kto the same answers behind other prompts."""
        preferences = [rows[int(i)] for i in index]
        prompts, completions = (
            [r.prompt for r in preferences],
            [r.chosen for r in preferences] + [r.rejected for r in preferences],
        )
        if self.name == "kto":
            # The answer of the row before, in the order of the data: which rows share a batch cannot change the reference.
            before = [rows[(int(i) - 1) % len(rows)] for i in index]
            completions += [r.chosen for r in before] + [r.rejected for r in before]
            return self.policy.rows(prompts * 4, completions)
        return self.policy.rows(prompts * 2, completions, answers=2)

    def _reduce(self, token_logp: Tensor, answers: Tokens) -> Tensor:
        if self.chosen.length_weight == 1.0:
            return sequence_sum(token_logp, answers.authored)
        chosen, rejected = answers.authored.sum(1).chunk(2)
        public = torch.minimum(chosen, rejected).repeat(2)
        return desensitised_sum(token_logp, answers.authored, public, self.chosen.length_weight)

    def _ahead(self) -> list[int]:
        def tokens(index: int) -> int:
            return int(self._tokens(self.rows, [index])[1].authored.sum())

        return self.run.rows_ahead(
            range(len(self.rows)),
            self.chosen.batch_size,
            epochs=self.chosen.epochs,
            drop_last=self.drop_last,
            order=self.order,
            tokens=tokens,
        )

    def _kto(
        self, sums: Tensor, fixed: Tensor, rows: list[Preference], before: list[Preference]
    ) -> dict[str, Loss]:
        has = _present(rows, sums.device)
        ratio = (sums - fixed.T.reshape(-1).to(sums.dtype)).chunk(2)
        mismatched = self.run.gather_constant(ratio[1][_present(before, sums.device)])
        good = torch.arange(len(has), device=sums.device) < len(rows)
        values = kto(
            ratio[0],
            good,
            reference_point(mismatched),
            beta=self.chosen.beta,
            undesirable_weight=self.chosen.undesirable_weight,
        )
        present = has.to(values.dtype)  # an unpaired row has one answer; the empty one counts for nothing
        return {"kto": Loss(values * present, counts=present)}


def scored_at_once(chosen: Choice) -> float:
    """How many answers the reference scores at once where no micro-batch size is set; 0 without a reference.

    >>> from counterpoint.methods.baselines.dpo import DPO
    >>> scored_at_once(DPO()), scored_at_once(DPO(loss="kto")), scored_at_once(DPO(loss="simpo"))
    (128.0, 256.0, 0.0)
    """
    name, _ = WITH_LIKELIHOOD.get(chosen.loss, (chosen.loss, 0.0))
    return 0.0 if name in REFERENCE_FREE else SHARD * (4.0 if name == "kto" else 2.0)


def check_rows(chosen: Settings, rows: Preferences, key: str) -> None:
    """Refuse rows that a loss cannot learn from.

    Raises:
        CounterpointError: single answers for a loss on pairs, ties without a model of them, a grading that the loss does not read.
    """
    if not rows.paired and chosen.loss != "kto":
        raise CounterpointError(
            f"{key}: loss {chosen.loss!r} compares two answers to one prompt, and this data has single answers with a label; "
            "use loss=kto"
        )
    if chosen.graded.reads and chosen.loss not in ("sigmoid", "rpo"):
        raise CounterpointError(
            f"{key}: graded.offset and graded.ties are read by loss=sigmoid and loss=rpo, and loss={chosen.loss} passes them over"
        )
    if chosen.graded.ties == "none" and any(row.tie for row in rows):
        raise CounterpointError(
            f"{key}: the data hold ties; give graded.ties=rao_kupper or graded.ties=davidson with loss=sigmoid, or leave them out "
            "(--data-option ties=drop)"
        )


def _present(rows: list[Preference], device: torch.device) -> Tensor:
    """[2 B] bool, whether there is a chosen and a rejected answer; an unpaired row has one of them."""
    return torch.tensor(
        [bool(row.chosen) for row in rows] + [bool(row.rejected) for row in rows],
        dtype=torch.bool,
        device=device,
    )
