"""One loop for preference learning: sample, judge, take a few passes; three settings say what a method is (arXiv 2404.14367).

*On-policy*: are completions sampled anew from the policy, or once from the model as it was given? *Reuse*: how many passes are made over
a batch of them? *Negative gradient*: are some completions pushed down, or only others up? PPO, REINFORCE, DPO, IPO, Pref-FT, RWR
and best-of-N are points of this cube, each with a loss; where the reward's peak is unlikely under the initial model, the first and the
third help, and add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.preferences import PreferenceData
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.samplers import PolicySource
from counterpoint.judges.choose import judge
from counterpoint.judges.weighted import Weighted, weighted
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.advantage import combine, group_relative
from counterpoint.objectives.preference.unified import (
    GRADIENTS,
    OF_REFERENCE,
    PAIRS,
    Kind,
    Negative,
    Policy,
    check_unified,
    group_losses,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import masked
from counterpoint.phases.answer_groups import Group, offline_groups, report_mass
from counterpoint.phases.distillation.engine_weighing import weighed
from counterpoint.phases.policy_gradient import Clip, Entropy, Update, policy_log_probs, rows_of
from counterpoint.phases.reward_baseline import RewardBaseline, RunningScore
from counterpoint.phases.rollouts import judge_group, record_rollouts, sample_group
from counterpoint.phases.self_training import SHARD
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run
from counterpoint.training.batches import Batch


@dataclass(kw_only=True)
class SuboptimalOnPolicy(Method[Language, ProblemData | PreferenceData]):
    """The unified loop.

    Attributes:
        loss: "ppo", "reinforce", "dpo", "ipo", "pref_ft" (likelihood of each pair's winner), "rwr" or "best_of_n".
        sampling: "online", from the policy at every batch; "offline", once from the initial model, or the data's own pairs.
        judge: where rewards come from, as of ``grpo``. Pairs of the data are their own judge.
        answers: completions N to each prompt.
        threshold: pairs whose rewards differ by less are left out.
        beta: tie to the initial model of dpo and ipo (1 / (2 beta) is ipo's target), temperature of rwr; None takes the loss's own.
        weight_cap: largest weight of rwr.
        level: pairs are compared by "sequence", or position by position, "token_paired", as the authors' program does.
        passes: T, over each batch of completions. minibatches: steps that each pass is made of.
        watched: every how many batches it is reported where the mass went; 0 does not.
        batch_size: prompts of a batch, each with ``answers`` completions: the smaller, the nearer to the policy.
        sampler: online the policy itself, or a vLLM server that is given its weights at every batch. ppo and reinforce, which are means
            over the policy's own completions, weigh what it samples; the others learn from ranked answers by the policy's own
            likelihoods, whoever wrote them. Offline any server may answer.
    """

    key: ClassVar[str] = "suboptimal-onpolicy"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    also: ClassVar[tuple[str, ...]] = ("preferences",)
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3)}
    ablations: ClassVar[Ablations] = {
        "data of the start": {"sampling": "offline"},
        "without a negative gradient": {"negative.kind": "none"},
    }

    loss: Kind = "dpo"
    sampling: Literal["online", "offline"] = "online"
    judge: str = "verifier"
    answers: int = 4
    threshold: float = 0.0
    beta: float | None = None
    weight_cap: float | None = None
    level: Literal["sequence", "token_paired"] = "sequence"
    negative: Negative = field(default_factory=Negative)
    policy: Policy = field(default_factory=Policy)
    passes: int = 2
    minibatches: int = 1
    watched: int = 10
    temperature: float = 1.0
    max_new_tokens: int = 256
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-5
    optimizer: Constant = field(default_factory=Constant)
    batch_size: int = 64
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def sequences(self) -> float:
        """The answers to a prompt, divided over the steps of a batch."""
        return self.answers / self.minibatches

    def staged(self) -> float:
        """Offline, the answers of a shard's prompts."""
        return SHARD * float(self.answers) if self.sampling == "offline" else 0.0

    def fit(self, model: Language, data: ProblemData | PreferenceData, run: Run) -> Language:
        """Sample, judge, take passes; the completions of an offline run are sampled and judged once, in durable stages."""
        self.check(data)
        # Without dropout: what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        # A second model only where something asks it.
        initial = run.constant(Frozen(model)).model if self._compared() else None
        policy = run.state(model=model)
        baselines = {"running": RunningScore, "running_mean": lambda: RewardBaseline(decay=None)}
        own = baselines.get(self.policy.advantage) if self.loss in GRADIENTS else None
        baseline = None if own is None else run.state(baseline=own())
        rows, groups = self._groups(policy, initial, data, run)
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(rows, self.batch_size, epochs=self.epochs):
            group = groups(batch)
            advantage = None
            if self.loss in GRADIENTS:
                advantage = self._advantages(group.rewards_PN, baseline, run)
            old, fixed, factors, figures = self._constants(policy, initial, group, batch.step, run)
            for part in self._parts(batch, run):
                inside = rows_of(part, group.count)
                prompts, completions = group.prompts[inside], group.completions[inside]
                given = (advantage, old, fixed, factors)
                constants = [None if each is None else each[inside] for each in given]
                terms = self._terms(run, policy, prompts, completions, group.rewards_PN[part], *constants)
                for term in list(terms.values())[:1]:
                    term.stats.update({name: each[inside] for name, each in figures.items()})
                run.step(terms, tokens=int(completions.authored.sum()))
        return policy

    def _compared(self) -> bool:
        """Whether anything asks the initial model: the loss, an offline sampler, the judge, or who watches the mass."""
        return self._tied or bool(self.watched) or self.sampling == "offline" or "intrinsic" in self.judge

    @property
    def _tied(self) -> bool:
        kl = self.loss in GRADIENTS and self.policy.kl > 0
        return self.loss in OF_REFERENCE or self.negative.constrained or kl

    def _groups(
        self, policy: Language, initial: Language | None, data: Any, run: Run
    ) -> tuple[Sequence[Any], Any]:
        """The rows to go through, and what makes groups of completions with rewards of a batch of them."""
        online, rows = self.sampling == "online", data.train
        if isinstance(data, PreferenceData) and not online:
            return rows, offline_groups(policy, rows, run)
        problems = [Problem(row.prompt) for row in rows] if isinstance(data, PreferenceData) else rows
        judges = self._judges(getattr(rows, "scorer", "exact"), policy, initial)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        why = "online it learns from what the policy itself says at this step; with --sampling offline a server may answer"
        source = policy if online or initial is None else initial
        sampler = self.sampler.build(self.key, source, how, on_policy=why if online else "", folder=run.out)
        if not online:
            return problems, offline_groups(policy, problems, run, sampler, judges, self.answers)
        names, weights = [each.name for each in judges], torch.tensor([each.weight for each in judges])

        def sample(batch: Any) -> Group:
            draws = batch.random.uniform(self.answers * self.max_new_tokens)
            rollouts = sample_group(sampler, batch.items, self.answers, draws)
            rewards, verdicts = judge_group(run, [each.judge for each in judges], rollouts)
            total = combine(rewards, weights.to(rewards))
            record_rollouts(run, rollouts, names, verdicts, total)
            prompts = policy.prompts(rollouts.prompts)
            return Group(prompts, rollouts.completions, total.reshape(-1, self.answers))

        return problems, sample

    def _judges(self, scorer: str, policy: Language, initial: Language | None) -> list[Weighted]:
        return weighted(
            self.judge,
            lambda name: judge(name, scorer=scorer, model=policy, reference=initial),
            self.key,
        )

    def _advantages(self, rewards_PN: Tensor, baseline: Any, run: Run) -> Tensor:
        """[P N] of this rank; what is remembered is over all ranks' rewards in the order of the batch."""
        every = run.gather_constant(rewards_PN)
        flat, count = every.flatten(), every.shape[1]
        advantage = group_relative(flat, count) if baseline is None else baseline.advantages(flat)
        if self.negative.kind == "none":
            judged = ~flat.isnan()
            if bool(judged.any()):
                advantage = masked(advantage - advantage[judged].min(), judged)
        start = run.row_offset * count
        return advantage[start : start + rewards_PN.numel()]

    def _constants(
        self, policy: Language, initial: Language | None, group: Group, step: int, run: Run
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, dict[str, Tensor]]:
        """Token log-probabilities [P N, T] before the batch's first step and under the initial model, where they are needed; factors
        on the tokens of an engine, with their figures [P N].
        """
        watched = bool(self.watched) and step % self.watched == 0
        several = self.loss == "ppo" and self.passes * self.minibatches > 1
        offline = self.loss == "ppo" and self.sampling == "offline"
        cap = self.sampler.largest_weight if self.loss in GRADIENTS else None
        engine = group.completions if cap is not None and isinstance(group.completions, Sampled) else None
        log_probs: list[Tensor | None] = [
            policy_log_probs(
                model, group.prompts, group.completions, self.temperature, at_once=run.micro_batch_size
            )
            if needed and model is not None
            else None
            for model, needed in (
                (policy, several or watched or engine is not None),
                (initial, self._tied or watched or offline),
            )
        ]
        if watched and log_probs[0] is not None and log_probs[1] is not None:
            report_mass(run, step, group, log_probs[0], log_probs[1])
        # What was sampled offline was sampled by the initial model: it is the ratio's denominator.
        old = log_probs[1] if offline else log_probs[0]
        factors, figures = None, dict[str, Tensor]()
        if cap is not None and engine is not None and log_probs[0] is not None:
            factors, figures = weighed(log_probs[0], engine.log_probs, engine.authored, cap)
        return (
            old if several or offline else None,
            log_probs[1] if self._tied else None,
            factors,
            figures,
        )

    def _parts(self, batch: Batch, run: Run) -> Iterator[Tensor]:
        """Numbers of the prompts of every step on a batch: ``passes`` times all of them, in ``minibatches`` parts; none is empty."""
        numbers = torch.arange(len(batch.items), device=run.device)
        # By the row's number in the global batch: the same parts on any number of processes.
        part = (numbers + batch.offset) % self.minibatches
        for _ in range(self.passes):
            for number in range(min(self.minibatches, batch.size)):
                yield numbers[part == number]

    def _terms(
        self,
        run: Run,
        policy: Language,
        prompts: Tokens,
        completions: Tokens,
        rewards_PN: Tensor,
        advantage: Tensor | None,
        old: Tensor | None,
        fixed: Tensor | None,
        factors: Tensor | None,
    ) -> dict[str, Loss]:
        """The named losses of one step on some groups."""
        own = self.policy
        if advantage is not None:
            update = Update(
                variant=self.loss,
                temperature=self.temperature,
                clip=Clip(low=own.clip, high=own.clip) if self.loss == "ppo" else Clip(),
                kl=own.kl,
                kl_kind=own.kl_kind,
                entropy=Entropy(weight=own.entropy),
            )
            own_tokens = completions.authored
            return update.losses(
                run,
                policy,
                prompts,
                completions,
                advantage,
                mask_NT=own_tokens,
                old_NT=old,
                reference_NT=fixed,
                weight_NT=factors,
            )
        token_logp = completion_log_probs(
            policy, prompts, completions, temperature=self.temperature, forward=run.forward
        )
        return group_losses(self, token_logp, completions.authored, rewards_PN, fixed)

    def check(self, data: ProblemData | PreferenceData) -> None:
        """Refuse what no loop can do, and settings that the chosen loss would pass over."""
        self.demand(above_zero=["temperature"])
        for name in ("answers", "passes", "minibatches"):
            if getattr(self, name) < 1:
                raise CounterpointError(f"{self.key}: {name}={getattr(self, name)}; expected at least 1")
        if self.minibatches > self.batch_size:
            raise CounterpointError(
                f"{self.key}: minibatches={self.minibatches} of batch_size={self.batch_size} prompts; some would be empty"
            )
        if self.answers < 2 and (self.loss in PAIRS or self.policy.advantage == "group"):
            raise CounterpointError(
                f"{self.key}: answers=1, and loss={self.loss} compares completions to the same prompt; set --answers 4"
            )
        check_unified(self, self.key, self.changed())
