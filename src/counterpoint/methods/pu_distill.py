"""PU distillation: one answer of a black-box teacher to each prompt, and the student ranks its own answers by it (arXiv 2601.20687).

The student imitates the anchors, then samples candidates, rates them with the anchor in view, and learns from the ratings' label
distribution d (``objectives.preference.label_distribution``): as advantages (LDL-GRPO), as pairs of best and worst (DPO), or as a
list. Two stages, anchor-conditioned self-evaluation and both ways of training are the paper's; the rest is reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own, Source
from counterpoint.judges.agreement import best_and_worst, rank_correlation
from counterpoint.judges.choose import judge
from counterpoint.judges.judge import Judge
from counterpoint.judges.rated import RATE, RATINGS, ExpectedRating
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs, sampled
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.label_distribution import (
    Relative,
    distinguished,
    distribution_advantages,
    label_distribution,
    listwise,
    of_prompts,
)
from counterpoint.objectives.preference.preference import Pair, pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.demonstrations import check_template
from counterpoint.phases.anchors import Anchors, anchored
from counterpoint.phases.policy_gradient import Clip, Update
from counterpoint.phases.rollouts import (
    Rollouts,
    group_statistics,
    judge_group,
    record_rollouts,
    sample_group,
)
from counterpoint.phases.self_training import learn_seed
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.past import Past
from counterpoint.training import Run


@dataclass
class Imitation:
    """Stage 1: the anchors are learnt by heart.

    Attributes:
        epochs: 0 leaves the stage out. learning_rate, batch_size: of it.
    """

    epochs: float = 1.0
    learning_rate: float = 1e-5
    batch_size: int = 16


@dataclass
class Rating:
    """How candidates are scored, and how scores become a label distribution.

    Attributes:
        judge: "expected", the mean rating over the rating tokens' probabilities, or any judge of ``grpo``; the anchor is the
            problem's reference.
        by: whose opinion that is: "imitator", the student after stage 1, frozen; "given", as it came; "current", as it is.
        ratings, template: of "expected"; a template without {anchor} rates without a yardstick.
        temperature: of the label distribution, in ratings.
        watched: another judge, which nothing is learnt from: how far its order agrees with the scores is logged.
    """

    judge: str = "expected"
    by: Literal["imitator", "given", "current"] = "imitator"
    ratings: str = RATINGS
    template: str = RATE
    temperature: float = 0.5
    watched: str = ""


@dataclass
class Preference:
    """What is learnt from a label distribution; each form reads its own.

    Attributes:
        advantage: of grpo: "standardised", or "uniform", N d - 1. clip: of its ratio. kl: weight of its KL to the imitator.
        beta: of dpo. chosen: of dpo: the "best" candidate, or the "anchor". strength: of listwise.
    """

    advantage: Relative = "standardised"
    clip: float = 0.2
    kl: float = 0.04
    beta: float = 0.1
    chosen: Literal["best", "anchor"] = "best"
    strength: float = 1.0


@dataclass(kw_only=True)
class PUDistill(Method[Language, ProblemData]):
    """Distil a black-box teacher by one answer a prompt and the student's own ranking.

    Attributes:
        form: "grpo" (LDL-GRPO), "dpo", or "listwise".
        teacher: who gives the anchors, where the data has none. sampler: kind=server asks a server for them.
        imitation, rating, preference: the stages.
        answers: candidates N per prompt. iterations: steps on each batch of them.
        temperature, max_new_tokens: of the candidates.
        batch_size: prompts per step of stage 2, each with ``answers`` candidates. epochs: of stage 2.
    """

    key: ClassVar[str] = "pu-distill"
    optional: ClassVar[tuple[str, ...]] = ("imitation.epochs",)
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3), "rating.temperature": [0.1, 0.5, 2.0]}
    ablations: ClassVar[Ablations] = {
        "pairs instead of groups": {"form": "dpo"},
        "rated as they are given": {"rating.by": "given"},
        "equal weights": {"preference.advantage": "uniform"},
    }

    form: Literal["grpo", "dpo", "listwise"] = "grpo"
    teacher: Anchors = field(default_factory=Anchors)
    imitation: Imitation = field(default_factory=Imitation)
    rating: Rating = field(default_factory=Rating)
    preference: Preference = field(default_factory=Preference)
    answers: int = 8
    iterations: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 512
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Constant = field(default_factory=Constant)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: Source = field(default_factory=Source)

    def sequences(self) -> float:
        """The candidates of a prompt, or a pair of them."""
        return 2.0 if self.form == "dpo" else float(self.answers)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Ask the teacher once, imitate, then sample, rate, learn; no teacher after the first line."""
        self.check(data)
        problems = anchored(data.train.rows, self.teacher, self.sampler, model, run, self.key)
        # Without dropout: what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        given = run.constant(Frozen(model)).model if self.rating.by == "given" else None
        past = run.state(past=Past(model))
        policy = run.state(model=model)
        reference = past.model
        rater = {"imitator": reference, "given": given or reference, "current": policy}[self.rating.by]
        scorer = data.train.scorer
        judges = [self._judge(rater, scorer)]
        if self.rating.watched:
            judges.append(judge(self.rating.watched, scorer=scorer, model=rater))
        names = [self.rating.judge, self.rating.watched][: len(judges)]
        sampler = Own(policy, Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature))
        for phase in run.rounds(2):
            if phase == 0:
                first = self.imitation
                optimizer = self.optimizer.at(first.learning_rate)
                learn_seed(policy, problems, run, optimizer, first.batch_size, first.epochs)
                continue
            run.once("past", lambda: past.refresh(policy))
            run.optimize(policy, self.optimizer.at(self.learning_rate))
            for batch in run.batches(problems, self.batch_size, epochs=self.epochs):
                draws = batch.random.uniform(self.answers * self.max_new_tokens)
                rollouts = sample_group(sampler, batch.items, self.answers, draws)
                rewards, verdicts = judge_group(run, judges, rollouts)
                scores_PN, *other = rewards.T.reshape(len(judges), len(batch.items), self.answers)
                shares_PN = label_distribution(scores_PN, self.rating.temperature)
                advantage = distribution_advantages(shares_PN, self.preference.advantage).flatten()
                record_rollouts(run, rollouts, names, verdicts, advantage)
                stats = group_statistics(rollouts, rewards, names)
                lengths = rollouts.completions.lengths.reshape(scores_PN.shape).to(scores_PN)
                for name, column in {"length": lengths, **dict(zip(["watched"], other))}.items():
                    agreement = rank_correlation(scores_PN, column).nan_to_num()
                    stats[f"rank_correlation/{name}"] = agreement.repeat_interleave(self.answers).float()
                if self.form == "grpo":
                    self._update().learn(run, policy, rollouts, advantage, reference=reference, stats=stats)
                else:
                    self._learn(run, policy, reference, rollouts, scores_PN, shares_PN, stats)
        return policy

    def _judge(self, rater: Language, scorer: str) -> Judge:
        if self.rating.judge == "expected":
            return ExpectedRating(rater, self.rating.ratings, self.rating.template)
        return judge(self.rating.judge, scorer=scorer, model=rater)

    def _update(self) -> Update:
        chosen = self.preference
        return Update(
            variant="grpo",
            temperature=self.temperature,
            clip=Clip(chosen.clip, chosen.clip),
            kl=chosen.kl,
            iterations=self.iterations,
        )

    def _learn(
        self,
        run: Run,
        policy: Language,
        reference: Language,
        rollouts: Rollouts,
        scores_PN: Tensor,
        shares_PN: Tensor,
        stats: dict[str, Tensor],
    ) -> None:
        """All steps on one batch of candidates as pairs, or as lists; prompts whose scores are equal do not count."""
        counted = distinguished(scores_PN)
        rows = torch.arange(len(rollouts.prompts), device=run.device)
        completions: Tokens = rollouts.completions
        if self.form == "dpo":
            best, worst = best_and_worst(scores_PN)
            start = torch.arange(len(scores_PN), device=run.device) * self.answers
            rows = torch.cat([start + best, start + worst])
            ids = [rollouts.completions.rows()[row] for row in rows.tolist()]
            if self.preference.chosen == "anchor":
                ids[: len(start)] = policy.completions([row.reference for row in rollouts.problems]).rows()
            completions = sampled(policy, ids)
        prompts = policy.prompts([rollouts.prompts[row] for row in rows.tolist()])
        with torch.no_grad():
            fixed = completion_log_probs(reference, prompts, completions).sum(-1)
        for _ in range(self.iterations):
            logp = completion_log_probs(policy, prompts, completions, forward=run.forward).sum(-1)
            if self.form == "dpo":
                pair = Pair(*logp.chunk(2), *fixed.chunk(2))
                values, more = (
                    pairwise("sigmoid", pair, beta=self.preference.beta),
                    reward_statistics(pair, self.preference.beta),
                )
            else:
                own, before = logp.reshape(scores_PN.shape), fixed.reshape(scores_PN.shape)
                values, more = listwise(own, before, shares_PN, self.preference.strength), {}
            loss: Loss = of_prompts(values, counted, {**stats, **more})
            run.step({self.form: loss}, tokens=int(completions.mask.sum()))

    def check(self, data: ProblemData) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=["temperature", "rating.temperature"])
        check_template(self.teacher.template, "prompt")
        for name in ("answers", "iterations"):
            if getattr(self, name) < (2 if name == "answers" else 1):
                raise CounterpointError(
                    f"{self.key}: {name}={getattr(self, name)}; expected at least {2 if name == 'answers' else 1}"
                )
        if self.rating.judge == "expected":
            return
        usual = Rating()
        for name in ("ratings", "template"):
            if getattr(self.rating, name) != getattr(usual, name):
                raise CounterpointError(
                    f"{self.key}: rating.{name} is of rating.judge=expected, and the judge is {self.rating.judge!r}; leave it out"
                )
