"""pi-Distill and OPSD: a model that is shown privileged information, and the same model that is not, train together.

    pi-Distill   max  alpha J_T + (1 - alpha) J_S,   J_T = E_{o ~ pi^T} R - beta KL(pi^T || sg pi^S),   J_S the same
                 completions, importance-weighted by pi^S / sg pi^T                       (arXiv 2602.04942, eq. 2-4)
    OPSD         max  E_{o ~ pi^S} R - beta KL(pi^S || sg pi^T)                           (eq. 5)

pi^T(o|s, I) and pi^S(o|s) are one set of weights with two prompts, so every gain of one reaches the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.problems import Problem, ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation import tools
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Completes, Own, PolicySource, Served
from counterpoint.judges import penalties
from counterpoint.judges.choose import judge
from counterpoint.judges.environment import Environment
from counterpoint.judges.weighted import weighted
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.preference.advantage import combine
from counterpoint.pairs import privileged as shown
from counterpoint.phases.episodes import Attempts, Turns, attempt, with_tools
from counterpoint.phases.privileged import Objective, Pull, Ratio, TwoViewUpdate
from counterpoint.phases.rollouts import judge_group, record_rollouts
from counterpoint.phases.two_views import Views
from counterpoint.teachers.frozen import Frozen
from counterpoint.training import Run


@dataclass
class Information:
    """What the teacher is shown.

    Attributes:
        source: "context", the rows' column ``privileged_context``; "solution", their reference; "actions", the calls of tools
            in the reference, without what else was written; "names", the names of these tools; "written", a hint that the
            model itself writes from the reference before the training. Rows without any are learnt from by reward alone.
        template: the teacher's prompt, with {information}; with {prompt} too it replaces the last message, else it is a
            system message.
        request: how the model is asked for a hint, with {prompt} and {information}.
    """

    source: Literal["context", "solution", "actions", "names", "written"] = "context"
    template: str = shown.SYSTEM
    request: str = shown.WRITE


@dataclass
class Penalty:
    """What is subtracted from rewards.

    Attributes:
        leak: for each keyword in what the model wrote. keywords: those that betray the information, separated by commas.
        length: what a turn of ``long`` tokens costs, of episodes with a reward above 0. free: tokens that cost nothing.
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
        objective: "pi-distill" follows the teacher's completions, "opsd" the student's; "imitation" fine-tunes the student
            on the teacher's rewarded completions, what the two are compared with.
        alpha: 1 trains the teacher's view alone, 0 the student's; of pi-distill.
        anneal: sampling rounds over which an alpha between 0 and 1 rises from 0.
        episode: turns and tools.
        judge: where rewards come from, as of ``grpo``; "environment" takes the tools' word for it.
        answers: completions per prompt, over which rewards are compared. steps: gradient steps on each round of them.
        max_new_tokens: longest turn.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        batch_size: prompts of a round.
        sampler: who writes hints before the training, the model itself or a server; completions that are learnt from are
            always the model's own, or those of a vLLM server that is given its weights at every round.
    """

    key: ClassVar[str] = "pi-distill"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    search: ClassVar[Search] = {
        "learning_rate": (1e-6, 1e-3),
        "kl.beta": [0.1, 0.25, 0.5],
        "alpha": [0.0, 0.5, 1.0],
    }
    ablations: ClassVar[Ablations] = {
        "the teacher alone": {"alpha": 1.0},
        "the student alone": {"alpha": 0.0},
        "self-distillation of the policy": {"objective": "opsd"},
        "without a penalty": {"kl.beta": 0.0},
    }

    objective: Objective = "pi-distill"
    alpha: float = 0.5
    anneal: int = 15
    information: Information = field(default_factory=Information)
    episode: Turns = field(default_factory=Turns)
    kl: Pull = field(default_factory=Pull)
    ratio: Ratio = field(default_factory=Ratio)
    penalty: Penalty = field(default_factory=Penalty)
    judge: str = "verifier"
    answers: int = 5
    steps: int = 3
    temperature: float = 0.75
    max_new_tokens: int = 2048
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Constant = field(default_factory=Constant)
    learning_rate: float = 5e-6
    batch_size: int = 64
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def sequences(self) -> float:
        """The completions of a prompt, divided over the steps of a batch; twice where both views learn from them."""
        views = 2 if self.objective == "pi-distill" and 0.0 < self.alpha < 1.0 else 1
        return views * self.answers / self.steps

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Sample with (pi-distill) or without (opsd) the information, judge, train both views."""
        rows = data.train.rows
        self.check(data)
        toolbox = tools.load(self.episode.tools) if self.episode.tools else None
        # Without dropout: what is sampled is what is trained.
        model = adapt(model, self.lora_rank, run.seed, self.adapter).eval()
        given = run.constant(Frozen(model)).model
        policy = run.state(model=model)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        sampler = self._sampler(policy, how, run)
        environment = Environment()
        judges = weighted(
            self.judge,
            lambda name: (
                environment
                if name == "environment"
                else judge(name, scorer=data.train.scorer, model=policy, reference=given)
            ),
            self.key,
        )
        texts = self._information(given, rows, run)
        update = TwoViewUpdate(
            self.objective,
            self.answers,
            self.steps,
            self.kl,
            self.ratio,
            self.max_new_tokens,
            self.sampler.largest_weight,
        )
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        length = self.max_new_tokens * (1 if toolbox is None else self.episode.turns)
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            # With tools an episode begins where the assistant first wrote, else its last turn is learnt.
            begin = [row.example("last" if toolbox is None else "all")[0] for row in batch.items]
            student = with_tools(begin, toolbox)
            teacher = [
                shown.with_information(prompt, texts[at], self.information.template)
                for prompt, at in zip(student, batch.index.tolist())
            ]
            attempts = attempt(
                sampler,
                batch.items,
                student if self.objective == "opsd" else teacher,
                self.answers,
                batch.random.uniform(self.answers * length),
                toolbox,
            )
            environment.rewards = attempts.worth
            rewards_NK, verdicts = judge_group(run, [each.judge for each in judges], attempts.rollouts)
            weights = rewards_NK.new_tensor([each.weight for each in judges])
            rewards, stats = self._penalised(combine(rewards_NK, weights), attempts)
            completions = attempts.rollouts.completions
            hinted, plain = attempts.prompts(teacher), attempts.prompts(student)
            views = Views.of(policy, hinted, plain, completions, temperature=self.temperature)
            rising = 0.0 < self.alpha < 1.0 and self.anneal > 0
            alpha = self.alpha * min(1.0, batch.step / self.anneal) if rising else self.alpha
            advantage = update.learn(
                run, policy, given, views, rewards, alpha=alpha, prompts=batch.size, stats=stats
            )
            whole = {"episode": attempts.own_texts} if toolbox is not None else {}
            names = [each.name for each in judges]
            record_rollouts(run, attempts.rollouts, names, verdicts, advantage, **whole)
        return policy

    def _sampler(self, policy: Language, how: Sampler, run: Run) -> Completes:
        """What writes completions; another server than one that follows the policy writes hints alone."""
        if self.sampler.kind == "server" and self.information.source == "written":
            return Own(policy, how)
        why = "it learns from what the model itself says at this step"
        sampler = self.sampler.build(self.key, policy, how, on_policy=why, folder=run.out)
        assert not isinstance(sampler, Served)
        return sampler

    def _penalised(self, rewards: Tensor, attempts: Attempts) -> tuple[Tensor, dict[str, Tensor]]:
        """Rewards [N] less what leaks and length cost, and what is logged of them."""
        on, keywords = self.penalty, penalties.keywords_of(self.penalty.keywords)
        leaks = [penalties.leakage(text, keywords, on.leak) for text in attempts.own_texts]
        long = [penalties.length(turns, on.length, on.free, on.long) for turns in attempts.lengths]
        leak_N, long_N = rewards.new_tensor(leaks), rewards.new_tensor(long)
        less = leak_N + torch.where(rewards > 0, long_N, 0.0)
        stats = {
            "reward": rewards,
            "penalty": less,
            "length": rewards.new_tensor([float(sum(turns)) for turns in attempts.lengths]),
            "turns": rewards.new_tensor([float(len(turns)) for turns in attempts.lengths]),
        }
        return rewards - less, stats

    def _information(self, model: Language, rows: Sequence[Problem], run: Run) -> list[str]:
        """What the teacher is shown of every row; hints of the model's own are written once and kept."""
        source = self.information.source
        if source != "written":
            return [shown.information(row, source) for row in rows]
        how = Sampler(max_new_tokens=min(256, self.max_new_tokens), temperature=self.temperature)
        writer = self.sampler.build(self.key, model, how, folder=run.out)
        writer.follow()

        def write(index: Sequence[int]) -> list[str]:
            requests = [
                shown.with_information(rows[at].prompt, rows[at].reference, self.information.request)
                for at in index
            ]
            hints = model.texts(writer(requests, 1, row_draws(run.seed, index, how.max_new_tokens)))
            return [hint if rows[at].reference else "" for hint, at in zip(hints, index)]

        return run.stage("hints", write, over=range(len(rows)), size=16)

    def check(self, data: ProblemData) -> None:
        """Refuse settings that contradict each other or the data."""
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
        if self.episode.turns < 1:
            raise CounterpointError(f"{self.key}: episode.turns={self.episode.turns}; expected at least 1")
        source = self.information.source
        shown.require_information(data.train.rows, "solution" if source == "written" else source, self.key)
        shown.check_template(self.information.template, "information")
        shown.check_template(self.information.request, "prompt", "information")
