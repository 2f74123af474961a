"""GRPO and its relatives: push up the likelihood of a prompt's better completions, down that of its worse ones.

L = - E sum_t min(rho_t A, clip(rho_t, 1-e, 1+e) A) + beta KL(policy || reference), A = (r - mean_group) / std_group
(GRPO, arXiv 2402.03300, eq. 3). ``variant`` picks among published choices of advantage, ratio, clip and average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, cast

from torch import Tensor

from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation import tools
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Completes, PolicySource, Served
from counterpoint.judges.choose import judge
from counterpoint.judges.environment import Environment
from counterpoint.judges.weighted import weighted
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.tokens import Tokens
from counterpoint.objectives.preference.advantage import Kind, combine, penalised
from counterpoint.phases.episodes import Turns, attempt, with_tools
from counterpoint.phases.policy_gradient import (
    Clip,
    Entropy,
    Penalty,
    Update,
    group_advantages,
    policy_log_probs,
)
from counterpoint.phases.resampling import Judged, resample
from counterpoint.phases.reward_baseline import RewardBaseline
from counterpoint.phases.rollouts import (
    Rollouts,
    group_statistics,
    judge_answers,
    record_rollouts,
    sample_group,
)
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run

Variant = Literal[
    "grpo", "dr_grpo", "dapo", "bnpo", "gspo", "luspo", "cispo", "sapo", "vespo", "rloo", "reinforce"
]
Advantage = Literal[
    "group",
    "batch",
    "none",
    "leave_one_out",
    "normalise_then_sum",
    "batch_mean",
    "moving_mean",
    "running_mean",
]
Target = Literal["loss", "reward"]
OWN: dict[str, tuple[Advantage, float, Target]] = {
    "grpo": ("group", 0.04, "loss"),
    "dr_grpo": ("none", 0.0, "loss"),
    "rloo": ("leave_one_out", 0.05, "reward"),
    "reinforce": ("moving_mean", 0.0, "reward"),
}
"""Each variant's own advantage, weight of the KL and its target; those that are not here have GRPO's advantage and no KL."""


@dataclass(kw_only=True)
class GRPO(Method[Language, ProblemData]):
    """Group-relative policy optimisation.

    Attributes:
        variant: a published choice of ratio, clip and average: "grpo", "dr_grpo", "dapo", "bnpo", "gspo", "luspo", "cispo",
            "sapo", "vespo", "rloo", "reinforce".
        judge: where rewards come from, as of ``self-rewarding``; several are joined by " + ", with weights:
            "verifier + 0.5*mine.py:brevity".
        answers: completions G sampled per prompt.
        advantage: the variant's own when None: "group" divides by the group's deviation, "batch" by the batch's, "none" by
            nothing; "leave_one_out" subtracts the mean of the others, "batch_mean", "moving_mean" and "running_mean" that of
            the batch, of the last batches, of all; "normalise_then_sum" standardises every judge's rewards by themselves.
        iterations: passes over each batch of completions. minibatches: steps that each pass is made of.
        resample: how often a group whose rewards are all equal gives way to a group of another prompt (DAPO's dynamic sampling);
            what is equal then, too, is not learnt from. 0 leaves groups as they are.
        episode: turns and tools; the judge "environment" takes the tools' word for what an episode was worth.
        skip_cut: completions that reached ``max_new_tokens`` are not learnt from.
        max_new_tokens: longest completion; dr_grpo divides by it.
        batch_size: prompts per step, each with ``answers`` completions.
        sampler: the policy itself, or a vLLM server that is given its weights at every step, and writes the turns of episodes too;
            another server is refused, for its completions are not the policy's of this step.
    """

    key: ClassVar[str] = "grpo"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3), "penalty.weight": [0.0, 0.01, 0.04]}

    variant: Variant = "grpo"
    judge: str = "verifier"
    answers: int = 64
    advantage: Advantage | None = None
    clip: Clip = field(default_factory=Clip)
    penalty: Penalty = field(default_factory=Penalty)
    entropy: Entropy = field(default_factory=Entropy)
    iterations: int = 1
    minibatches: int = 1
    skip_cut: bool = False
    resample: int = 0
    episode: Turns = field(default_factory=Turns)
    temperature: float = 1.0
    max_new_tokens: int = 1024
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Constant = field(default_factory=Constant)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def sequences(self) -> float:
        """The answers to a prompt, divided over the steps of a batch."""
        return self.answers / self.minibatches

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Sample groups, judge them, push; one batch of prompts a step."""
        kind, weight, target = self._own()
        self.check(data)
        # Without dropout: what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        reference = run.constant(Frozen(model)).model if weight else None
        policy = run.state(model=model)
        environment, toolbox = Environment(), tools.load(self.episode.tools) if self.episode.tools else None
        judges = weighted(
            self.judge,
            lambda name: (
                environment
                if name == "environment"
                else judge(name, scorer=data.train.scorer, model=policy, reference=reference)
            ),
            self.key,
        )
        names, judging = [each.name for each in judges], [each.judge for each in judges]
        why = "it learns from what the policy itself says at this step"
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        sampler = self.sampler.build(self.key, policy, how, on_policy=why, folder=run.out)
        assert not isinstance(sampler, Served)
        memory = {"moving_mean": 0.9, "running_mean": None}
        baseline = run.state(baseline=RewardBaseline(memory[kind])) if kind in memory else None
        update = self._update(weight if target == "loss" else 0.0)
        roll = partial(self._roll, sampler, environment, toolbox)
        judge_all = partial(judge_answers, run, judging)
        width = self.answers * self.max_new_tokens * (1 if toolbox is None else self.episode.turns)
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            rollouts = roll(batch.items, batch.random.uniform(width))
            rewards, verdicts = judge_all(batch.items, rollouts.answers(), "verdicts")
            weights = [each.weight for each in judges]
            judged = Judged.of(rollouts, rewards, verdicts, rewards.new_tensor(weights))
            judged = resample(
                run, batch, data.train.rows, judged, roll, judge_all, rewards.new_tensor(weights),
                tries=self.resample, width=width,
            )  # fmt: skip
            rollouts, rewards, skip = judged.rollouts, judged.rewards, None
            stats = group_statistics(rollouts, rewards, names)
            if self.resample:
                stats["replaced"] = judged.replaced.repeat_interleave(self.answers).to(rewards)
                skip = judged.equal.repeat_interleave(self.answers)
            if self.skip_cut:
                cut = ~rollouts.completions.ended
                skip = cut if skip is None else cut | skip.to(cut.device)
            if reference is not None and target == "reward":
                rewards, weights = (
                    self._penalised(run, policy, reference, rollouts, rewards, weights, weight),
                    [1.0],
                )
            if baseline is None:
                advantage = group_advantages(run, rewards, self.answers, cast(Kind, kind), weights)
            else:
                total = combine(run.gather_constant(rewards), rewards.new_tensor(weights))
                start = run.row_offset * self.answers
                advantage = baseline.advantages(total)[start : start + len(rewards)]
            own = rollouts.completions
            whole = (
                {"episode": policy.texts(Tokens(own.ids, own.authored.long()))} if toolbox is not None else {}
            )
            record_rollouts(run, rollouts, names, judged.verdicts, advantage, **whole)
            update.learn(
                run,
                policy,
                rollouts,
                advantage,
                reference=reference,
                skip_N=skip,
                stats=stats,
            )
        return policy

    def _roll(
        self,
        sampler: Completes,
        environment: Environment,
        toolbox: tools.Toolbox | None,
        problems: Sequence[Problem],
        draws: Tensor,
    ) -> Rollouts:
        """A group of completions, or of episodes, to each problem."""
        if toolbox is None:
            return sample_group(sampler, problems, self.answers, draws)
        # An episode begins where the assistant first wrote.
        begin = with_tools([row.example("all")[0] for row in problems], toolbox)
        attempts = attempt(sampler, problems, begin, self.answers, draws, toolbox)
        environment.rewards = attempts.worth
        return attempts.rollouts

    def _own(self) -> tuple[Advantage, float, Target]:
        """Advantage, weight of the KL and its target: those that were given, else the variant's."""
        kind, weight, target = OWN.get(self.variant, ("group", 0.0, "loss"))
        given = self.penalty
        return (
            kind if self.advantage is None else self.advantage,
            weight if given.weight is None else given.weight,
            target if given.target is None else given.target,
        )

    def _update(self, kl: float) -> Update:
        return Update(
            variant=self.variant,
            temperature=self.temperature,
            max_length=self.max_new_tokens,
            clip=self.clip,
            kl=kl,
            kl_kind=self.penalty.kind,
            kl_corrected=self.penalty.corrected,
            entropy=self.entropy,
            iterations=self.iterations,
            minibatches=self.minibatches,
            cap=self.sampler.largest_weight,
        )

    def _penalised(
        self,
        run: Run,
        policy: Language,
        reference: Language,
        rollouts: Rollouts,
        rewards: Tensor,
        weights: list[float],
        weight: float,
    ) -> Tensor:
        """[N, 1] rewards minus the weighted sampled KL to the reference, which is where RLOO has it."""
        prompts, completions = policy.prompts(rollouts.prompts), rollouts.completions
        logp, fixed = (
            policy_log_probs(each, prompts, completions, self.temperature, at_once=run.micro_batch_size)
            for each in (policy, reference)
        )
        total = combine(rewards, rewards.new_tensor(weights))
        return penalised(total, logp.to(total), fixed.to(total), completions.authored, weight)[:, None]

    def check(self, data: ProblemData) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=["temperature", "entropy.share"])
        for name in ("answers", "iterations", "minibatches"):
            if getattr(self, name) < 1:
                raise CounterpointError(f"{self.key}: {name}={getattr(self, name)}; expected at least 1")
        if self.entropy.share > 1:
            raise CounterpointError(
                f"{self.key}: entropy.share={self.entropy.share}; expected a share, at most 1"
            )
        if self.answers < 2 and self._own()[0] in ("group", "none", "leave_one_out", "normalise_then_sum"):
            raise CounterpointError(
                f"{self.key}: answers=1, and a completion is compared with the others to its prompt; "
                "set --answers 8, or --advantage moving_mean"
            )
        if self.episode.turns < 1:
            raise CounterpointError(f"{self.key}: episode.turns={self.episode.turns}; expected at least 1")
        if self.resample and (
            self.answers < 2 or self._own()[0] in ("batch_mean", "moving_mean", "running_mean")
        ):
            raise CounterpointError(
                f"{self.key}: resample={self.resample} replaces groups whose rewards are equal, and with answers={self.answers} and "
                f"advantage={self._own()[0]} they teach something; leave resample out, or set --answers 8 --advantage group"
            )
        if self.minibatches > self.batch_size:
            raise CounterpointError(
                f"{self.key}: minibatches={self.minibatches} of batch_size={self.batch_size} prompts; some would be empty"
            )
