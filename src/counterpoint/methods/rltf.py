"""RLTF: reinforcement learning from text feedback, where the first answer becomes as good as the second (arXiv 2602.02482).

An answer that fails is criticised and tried again. Policy gradient on both turns (eq. 3 of ``objectives.preference.text_feedback``),
and beside it RLTF-SD: the second answer is learnt under the question alone, as far as it beats the first turn's mean reward (eq. 7);
or RLTF-FM: the critique itself is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.conversation import Prompt
from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.turns import CRITICISE, RETRY, check_templates, to_criticise
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import PolicySource
from counterpoint.judges.choose import judge
from counterpoint.judges.feedback import feedback
from counterpoint.judges.weighted import weighted
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models import sharding
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.advantage import combine
from counterpoint.objectives.preference.text_feedback import (
    Baseline,
    Ratio,
    critique_loss,
    distillation_advantages,
    distillation_loss,
    possible,
    turn_advantages,
    turn_loss,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.phases.distillation.engine_weighing import weighed
from counterpoint.phases.rollouts import (
    Rollouts,
    group_statistics,
    judge_group,
    record_rollouts,
    sample_group,
)
from counterpoint.phases.second_turn import SecondTurn, criticise, second_rewards, try_again
from counterpoint.training import Run


@dataclass
class Descent(Constant):
    """As ``Constant``, with the paper's betas."""

    betas: tuple[float, float] = (0.9, 0.95)


@dataclass
class Distillation:
    """The second answer learnt under the question alone (RLTF-SD).

    Attributes:
        weight: of the term, c. ramp: it rises linearly from 0 over the training.
        baseline: "first_turn", "second_turn", or "none": with rewards of 0 and 1, learning from what succeeded.
        unlikely: tokens whose log-probability under the question alone is below minus this are not learnt from; None takes all.
        ratio: "own" is advantage-weighted regression; "ppo" and "cispo" weigh by the ratio to the answer after the critique.
        clip: the ratio stays within this of 1.
    """

    weight: float = 0.1
    ramp: bool = False
    baseline: Baseline = "first_turn"
    unlikely: float | None = 5.0
    ratio: Ratio = "own"
    clip: float = 0.2


@dataclass(kw_only=True)
class RLTF(Method[Language, ProblemData]):
    """Reinforcement learning from text feedback.

    Attributes:
        mode: "sd" (self-distillation), "fm" (feedback modelling), or "multi", both turns' policy gradient alone.
        judge: where rewards come from, one or several with weights, as of ``grpo``.
        feedback: what is said of an answer that failed: "verifier", "hint", "file:FILE.jsonl", "critic:MODEL", or a function,
            "FILE.py:FUNCTION"; it must not give the answer away.
        answers: rollouts per prompt, G.
        solved: an answer with this reward is not tried again.
        discount: of the second turn's reward in the first turn's return, gamma.
        critique_weight: of feedback modelling, lambda.
        template: prompt of the second turn. critique_template: prompt that a critique answers.
        max_new_tokens: longest completion.
        batch_size: prompts per step, each with ``answers`` rollouts.
        sampler: the policy itself, or a vLLM server that is given its weights at every step and writes both turns; another server is
            refused, for its completions are not the policy's of this step.
    """

    key: ClassVar[str] = "rltf"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3), "distillation.weight": [0.05, 0.1, 0.3]}
    ablations: ClassVar[Ablations] = {
        "both turns' rewards alone": {"mode": "multi"},
        "feedback modelling": {"mode": "fm"},
        "without a baseline": {"distillation.baseline": "none"},
        "unlikely tokens, too": {"distillation.unlikely": None},
    }

    mode: Literal["sd", "fm", "multi"] = "sd"
    judge: str = "verifier"
    feedback: str = "verifier"
    answers: int = 8
    solved: float = 1.0
    discount: float = 0.1
    distillation: Distillation = field(default_factory=Distillation)
    critique_weight: float = 0.1
    template: str = RETRY
    critique_template: str = CRITICISE
    temperature: float = 1.0
    max_new_tokens: int = 8096
    lora_rank: int = 32
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Descent = field(default_factory=Descent)
    batch_size: int = 32
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def sequences(self) -> float:
        """The answers to a prompt, the second ones, and what is learnt from these without their feedback or of it."""
        return self.answers * (2.0 if self.mode == "multi" else 3.0)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Answer, judge, criticise, answer again, learn; one batch of prompts a step."""
        self.check(data)
        # In evaluation mode, so that what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        policy, scorer = run.state(model=model), data.train.scorer
        judges = weighted(self.judge, lambda name: judge(name, scorer=scorer, model=policy), self.key)
        names = [each.name for each in judges]
        critic = feedback(self.feedback, scorer=scorer, model=policy)
        why = "it learns from what the policy itself says at this step"
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        sampler = self.sampler.build(self.key, policy, how, on_policy=why, folder=run.out)
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            draws = batch.random.uniform(2, self.answers * self.max_new_tokens)
            first = sample_group(sampler, batch.items, self.answers, draws[:, 0])
            rewards, verdicts = judge_group(run, [each.judge for each in judges], first)
            reward = combine(rewards, rewards.new_tensor([each.weight for each in judges]))
            critiques = criticise(run, critic, first, reward < self.solved)
            second_draws = draws[:, 1].reshape(len(first.prompts), self.max_new_tokens)
            again = try_again(sampler, first, critiques, second_draws, self.template)
            second = second_rewards(run, judges, first, again)
            both = torch.stack([reward, second], -1).reshape(len(batch.items), self.answers, 2)
            advantage = turn_advantages(both, self.discount).flatten(0, 1).nan_to_num()
            texts = [format(each, ".3g") if each == each else "" for each in second.tolist()]
            record_rollouts(
                run, first, names, verdicts, advantage[:, 0], feedback=critiques,
                second_answer=again.column(again.texts, len(reward)), second_reward=texts,
            )  # fmt: skip
            terms = self._terms(run, policy, first, again, both, advantage)
            terms["first"].stats.update(group_statistics(first, rewards, names))
            terms["first"].stats["tried_again"] = (~second.isnan()).float()
            tokens = int(first.completions.mask.sum() + again.completions.mask.sum())
            run.step(terms, tokens=tokens)
        return policy

    def _terms(
        self,
        run: Run,
        policy: Language,
        first: Rollouts,
        again: SecondTurn,
        rewards_PG2: Tensor,
        advantage_N2: Tensor,
    ) -> dict[str, Loss]:
        """The step's terms, each a mean over the N rollouts of sums over tokens; 0 where a rollout has no second turn."""
        size, rows = len(advantage_N2), again.rows

        def logp(prompts: Sequence[Prompt], completions: Tokens) -> Tensor:
            tokens = policy.prompts(prompts)
            return completion_log_probs(
                policy, tokens, completions, temperature=self.temperature, forward=run.forward
            )

        def wide(loss: Loss, weight: float = 1.0) -> Loss:
            return Loss(loss.values.new_zeros(size).index_put((rows,), loss.values), weight=weight)

        answer_mask = first.completions.mask.bool()
        y0 = logp(first.prompts, first.completions)
        several = sharding.most(len(rows), policy)  # in shards, a forward needs every process
        y1 = logp(again.prompts, again.completions) if several else y0[:0]
        factor0, factor1, figures = self._weighed(first, again, y0, y1)
        terms = {"first": turn_loss(y0, advantage_N2[:, 0].to(y0), answer_mask, weight_BT=factor0)}
        terms["first"].stats.update(figures)
        weights = {"sd": self.distillation.weight * (run.progress if self.distillation.ramp else 1.0)}
        weight = (weights | {"fm": self.critique_weight}).get(self.mode, 0.0)
        nothing, other = y0.new_zeros(size), {"sd": "distillation", "fm": "critique"}.get(self.mode)
        if not several:  # other processes may have second turns, and every one has the same terms
            return (
                terms | {"second": Loss(nothing)} | ({other: Loss(nothing, weight=weight)} if other else {})
            )
        completions, mask = again.completions, again.completions.mask.bool()
        terms["second"] = wide(turn_loss(y1, advantage_N2[rows, 1].to(y1), mask, weight_BT=factor1))
        questions = [first.prompts[row] for row in rows.tolist()]
        if self.mode == "sd":
            chosen = self.distillation
            alone = logp(questions, completions)
            a_sd = (
                distillation_advantages(rewards_PG2, chosen.baseline).flatten()[rows].nan_to_num().to(alone)
            )
            keep = mask if chosen.unlikely is None else possible(alone, mask, -chosen.unlikely)
            loss = distillation_loss(
                alone, a_sd, keep, chosen.ratio, low=chosen.clip, high=chosen.clip,
                denominator_BT=None if chosen.ratio == "own" else y1.detach(), weight_BT=factor1,
            )  # fmt: skip
            terms["distillation"] = wide(loss, weight)
        elif self.mode == "fm":
            attempts = [first.texts[row] for row in rows.tolist()]
            prompts = [to_criticise(p, a, self.critique_template) for p, a in zip(questions, attempts)]
            critiques = policy.completions(again.critiques)
            loss = critique_loss(logp(prompts, critiques), critiques.mask)
            terms["critique"] = wide(loss, weight)
        return terms

    def _weighed(
        self, first: Rollouts, again: SecondTurn, y0: Tensor, y1: Tensor
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor]]:
        """Factors on the tokens of both turns and figures [N] over both; none where the policy sampled itself."""
        cap, one, two = self.sampler.largest_weight, first.completions, again.completions
        if cap is None:
            return None, None, {}

        def both(of_first: Tensor, of_second: Tensor) -> Tensor:
            behind = of_first.new_zeros(len(of_first), two.width)
            return torch.cat([of_first, behind.index_copy(0, again.rows, of_second.to(behind))], 1)

        own, given = both(y0.detach(), y1.detach()[:, : two.width]), both(one.log_probs, two.log_probs)
        factors, figures = weighed(own, given, both(one.mask, two.mask), cap)
        return factors[:, : one.width], factors[again.rows, one.width :], figures

    def check(self, data: ProblemData) -> None:
        """Refuse settings that contradict each other or the data."""
        check_templates(self.template, self.critique_template)
        self.demand(above_zero=["temperature"])
        if self.answers < 2:
            raise CounterpointError(
                f"{self.key}: answers={self.answers}, and an answer is compared with the others to its prompt; set --answers 8"
            )
