"""SGS: self-play in which a guide says what is worth posing (arXiv 2604.20209). Targets, a solver, a conjecturer, a prover.

Every round a conjecturer writes, for each target without a proof, a statement that should help with it; the solver writes k proofs of
every target and conjecture, and a prover checks them. With s the share of proofs that hold, and one loss L = - sum w log pi / N_tokens,

    solver: proofs of problems with 0 < s <= 1/2, w = 1;   conjecturer: w = min-max of (1 - s) [0 < s <= q] guide(conjecture, target).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.errors import CounterpointError
from counterpoint.generation.authors import Writer
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own, PolicySource
from counterpoint.judges.provers.proved import Proved, prover
from counterpoint.judges.provers.prover import Prover, proof_of
from counterpoint.judges.provers.reviews import ModelReviewer, Reviewer, Rubric
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import ConstantAdam
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.objectives.preference.self_play import (
    conjecture_worth,
    guide_score,
    learnable,
    overlong,
)
from counterpoint.phases.posing.learning import (
    Row,
    Weighing,
    learn_groups,
    learn_rows,
    rollout_group,
    rollout_row,
)
from counterpoint.phases.posing.rounds import (
    SHARD,
    Archive,
    Conjecture,
    Rollout,
    filled,
    report_curve,
    round_figures,
    sample_rollouts,
    shaped,
    usable,
    write_proofs,
)
from counterpoint.phases.self_training import judge_answers, record_answers
from counterpoint.training import Run
from counterpoint.training.seeds import derive

CONJECTURE = (
    "Write a lemma or a related theorem that would be useful for proving the statement below. It should be simpler than the statement, "
    "not the same, and not the same up to names. Write the new statement only.\n\n{statement}"
)


@dataclass
class Solver:
    """How the solver learns.

    Attributes:
        objective: "reinforce" (REINFORCE-half), "cispo" (groups with their advantages), or "expert" (proofs of the last rounds).
        most: highest solve rate of what reinforce learns from.
        low, high: cispo's ratio stays in [1 - low, 1 + high].
        remembered: proofs of a target that are kept. recent: rounds whose proofs expert learns from.
        skip: proofs with this text outside comments are not learnt from; empty skips none.
    """

    objective: Literal["reinforce", "cispo", "expert"] = "reinforce"
    most: float = 0.5
    low: float = 1.0
    high: float = 3.0
    remembered: int = 16
    recent: int = 3
    skip: str = "try"


@dataclass
class Conjecturer:
    """Who poses problems, and how it learns.

    Attributes:
        kind: "trained" learns every round, "frozen" stays the initial model, "none" poses nothing.
        share: quantile of the solve rates up to which conjectures are learnt from.
        template: of its prompt, with {statement}, the target; without, it is not conditioned on one.
        max_new_tokens: longest conjecture. learning_rate, batch_size: of its training.
    """

    kind: Literal["trained", "frozen", "none"] = "trained"
    share: float = 0.7
    template: str = CONJECTURE
    max_new_tokens: int = 8192
    learning_rate: float = 3e-6
    batch_size: int = 32


@dataclass
class Guide(Writer):
    """Who says what a conjecture is worth: the settings of ``Writer`` and a kind.

    Attributes:
        kind: "model" (``author`` writes reviews; "self" is the initial model, frozen), "rubric" (counts), "none" (all are worth the same).
    """

    kind: Literal["model", "rubric", "none"] = "model"


@dataclass(kw_only=True)
class SGS(Method[Language, ProblemData]):
    """Learn to prove statements, on them and on problems posed for them.

    Attributes:
        prover: "metamath:FILE.mm", "coq:FILE.v", "lean:FILE.toml" or "rewriting:FILE.txt".
        rounds: of posing, proving and learning.
        answers: k, proofs sampled of every statement in a round.
        template: of the solver's prompt, with {statement}.
        temperature, max_new_tokens: of proofs; conjectures have the temperature, too.
        learning_rate, batch_size: of the solver's training, in rollouts.
        lora_rank: train adapters of this rank; 0 trains all weights.
        sampler: of proofs, the solver itself, or a vLLM server that is given its weights in every round (expert iteration learns from
            proofs whoever wrote them, the others weigh its tokens); another server is refused, for its proofs are not the solver's
            of this round. Conjectures are the conjecturer's own.
    """

    key: ClassVar[str] = "sgs"
    search: ClassVar[Search] = {"learning_rate": [3e-7, 1e-6, 3e-6, 1e-5]}
    ablations: ClassVar[Ablations] = {
        "without conjectures": {"conjecturer.kind": "none"},
        "a conjecturer that does not learn": {"conjecturer.kind": "frozen"},
        "without a guide": {"guide.kind": "none"},
        "expert iteration": {"solver.objective": "expert"},
    }

    prover: str = "lean:lean.toml"
    rounds: int = 200
    answers: int = 8
    template: str = "{statement}"
    temperature: float = 1.0
    max_new_tokens: int = 8192
    learning_rate: float = 3e-6
    batch_size: int = 32
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: ConstantAdam = field(default_factory=ConstantAdam)
    solver: Solver = field(default_factory=Solver)
    conjecturer: Conjecturer = field(default_factory=Conjecturer)
    guide: Guide = field(default_factory=Guide)
    sampler: PolicySource = field(default_factory=PolicySource)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """``rounds`` times: pose, prove, check; then the solver learns from what it just manages, the conjecturer from what led to it."""
        proves = prover(self.prover)
        targets = self._checked([row.question.strip() for row in data.train], proves)
        reviews = self._reviewer(model, run)
        twin = copy.deepcopy(model) if self.conjecturer.kind != "none" else None
        solver: Language = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        if twin is not None:
            twin = adapt(twin, self.lora_rank, run.seed, self.adapter).eval()
            twin = run.state(conjecturer=twin) if self.conjecturer.kind == "trained" else run.constant(twin)
        archive: Archive = run.state(archive=Archive(self.solver.remembered))
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        why = "it learns from what the solver itself proves in this round"
        sampler = self.sampler.build(self.key, solver, how, on_policy=why, folder=run.out)
        cap = self.sampler.largest_weight
        weighing = (
            None if cap is None or self.solver.objective == "expert" else Weighing(cap, self.temperature)
        )
        for r in run.rounds(self.rounds):
            posed = self._posed(run, twin, proves, targets, archive.solved(r), r)
            tried = self._tried(archive, len(targets), r)
            statements = [targets[at] for at in tried] + [each["statement"] for each in posed]
            prompts = [filled(self.template, each) for each in statements]
            drawn = sample_rollouts(
                run, "prove", sampler, prompts, self.answers, derive(run.seed, "prove", r)
            )
            problems = [Problem(each) for each in statements]
            verdicts = judge_answers(run, Proved(proves), problems, drawn)
            record_answers(run, problems, drawn, proves.name, verdicts.rewards, verdicts.texts)
            proved = verdicts.rewards.reshape(len(statements), self.answers) == 1.0
            rate = proved.double().mean(1)
            of_targets = zip(tried, drawn, proved.tolist())
            proofs = [
                (at, each["ids"]) for at, row, right in of_targets for each, holds in zip(row, right) if holds
            ]
            written = len(targets) - len(archive.solved(r)) if twin is not None else 0
            archive.add(r, proofs, len(statements) * self.answers + written)
            figures = round_figures(archive, r, len(targets), posed, drawn[: len(tried)], rate)
            run.log(round=r, **figures)
            run.report(rounds=[{"round": r, **figures}])
            rewards = [
                shaped(row, right, self.max_new_tokens, self.solver.skip)
                for row, right in zip(drawn, proved.tolist())
            ]
            rule = self.optimizer.at(self.learning_rate)
            if self.solver.objective == "cispo":
                groups = [
                    rollout_group(prompts[at], drawn[at], rewards[at])
                    for at in proved.any(1).nonzero().flatten().tolist()
                ]
                clip = self.solver.low, self.solver.high
                learn_groups(
                    run,
                    solver,
                    groups,
                    rule,
                    max(self.batch_size // self.answers, 1),
                    clip,
                    "solver",
                    weighing,
                )
            else:
                rows = self._solver_rows(archive, targets, prompts, drawn, rewards, rate, r)
                learn_rows(run, solver, rows, rule, self.batch_size, "solver", weighing)
            if twin is not None and self.conjecturer.kind == "trained":
                rows = self._conjecturer_rows(run, reviews, targets, posed, rate[len(tried) :], r)
                rule = self.optimizer.at(self.conjecturer.learning_rate)
                learn_rows(run, twin, rows, rule, self.conjecturer.batch_size, "conjecturer")
        report_curve(run)
        if run.rank == 0:
            write_proofs(run.out / "proofs.jsonl", archive, targets, solver)
            if twin is not None and self.conjecturer.kind == "trained":
                twin.save(run.out / "conjecturer")
        return solver

    def _tried(self, archive: Archive, count: int, r: int) -> list[int]:
        """The targets that are attempted: all, but for expert iteration those with room for proofs."""
        if self.solver.objective != "expert":
            return list(range(count))
        return [at for at in range(count) if archive.count(at, r) < self.solver.remembered]

    def _posed(
        self,
        run: Run,
        twin: Language | None,
        proves: Prover,
        targets: Sequence[str],
        solved: set[int],
        r: int,
    ) -> list[Conjecture]:
        """A conjecture for each target without a proof, without those that cannot be read, repeat each other or a target."""
        if twin is None:
            return []
        unsolved = [at for at in range(len(targets)) if at not in solved]
        how = Sampler(max_new_tokens=self.conjecturer.max_new_tokens, temperature=self.temperature)
        prompts = [filled(self.conjecturer.template, targets[at]) for at in unsolved]
        written = sample_rollouts(run, "pose", Own(twin, how), prompts, 1, derive(run.seed, "pose", r))
        texts = [proof_of(row[0]["text"]) for row in written]
        readable = [row[0]["ended"] and not proves.refused(text) for row, text in zip(written, texts)]
        new = usable([text if fine else "" for text, fine in zip(texts, readable)], [*targets, ""])
        return [
            Conjecture(target=at, statement=text, ids=row[0]["ids"])
            for at, row, text, fine in zip(unsolved, written, texts, new)
            if fine
        ]

    def _solver_rows(
        self,
        archive: Archive,
        targets: Sequence[str],
        prompts: Sequence[str],
        drawn: Sequence[Sequence[Rollout]],
        rewards: Sequence[Sequence[float]],
        rate: Tensor,
        r: int,
    ) -> list[Row]:
        """Proofs of what is solved sometimes, at most half of the time; of expert iteration those of the last rounds."""
        if self.solver.objective == "expert":
            recent = archive.recent(r + 1, self.solver.recent)
            return [Row(prompt=filled(self.template, targets[at]), ids=ids, weight=1.0) for at, ids in recent]
        return [
            rollout_row(prompts[at], each, weight)
            for at in learnable(rate, self.solver.most).nonzero().flatten().tolist()
            for each, weight in zip(drawn[at], rewards[at])
            if weight
        ]

    def _conjecturer_rows(
        self,
        run: Run,
        reviews: Reviewer | None,
        targets: Sequence[str],
        posed: Sequence[Conjecture],
        rate: Tensor,
        r: int,
    ) -> list[Row]:
        """Conjectures that are solved sometimes but not easily, weighted by difficulty times the guide's score."""
        chosen = conjecture_worth(rate, share=self.conjecturer.share).trained.nonzero().flatten().tolist()
        score: Tensor | None = None
        if reviews is not None and chosen:

            def reviewed(shard: Sequence[int]) -> list[list[int]]:
                pairs = [(targets[posed[at]["target"]], posed[at]["statement"]) for at in shard]
                return [list(each or ()) for each in reviews(pairs, derive(run.seed, "review", r, shard[0]))]

            marks = run.stage("review", reviewed, over=chosen, size=SHARD)
            read = {
                at: float(guide_score(*torch.tensor(each).unbind()))
                for at, each in zip(chosen, marks)
                if each
            }
            mean = sum(read.values()) / max(len(read), 1)
            score = torch.tensor([read.get(at, mean) for at in range(len(posed))], dtype=torch.float64)
            run.report(reviews=[{"round": r, "read": len(read) / len(chosen), "score": mean}])
        worth = conjecture_worth(rate, score, self.conjecturer.share)
        longest = self.conjecturer.max_new_tokens
        return [
            Row(
                prompt=filled(self.conjecturer.template, targets[posed[at]["target"]]),
                ids=posed[at]["ids"],
                weight=float(overlong(torch.tensor([len(posed[at]["ids"])]), longest))
                or float(worth.weight[at]),
            )
            for at in chosen
        ]

    def _reviewer(self, model: Language, run: Run) -> Reviewer | None:
        """The guide, before anything is trained; none where there is none, or nobody to guide."""
        if self.guide.kind == "none" or self.conjecturer.kind != "trained":
            return None
        if self.guide.kind == "rubric":
            return Rubric()
        own = run.constant(copy.deepcopy(model)) if self.guide.author == "self" else model
        return ModelReviewer(self.guide.build(own, run.out))

    def _checked(self, targets: list[str], proves: Prover) -> list[str]:
        """The targets, each once.

        Raises:
            CounterpointError: settings out of range, a target that the prover cannot read, no target.
        """
        self.demand(
            above_zero=[
                "rounds",
                "answers",
                "batch_size",
                "temperature",
                "conjecturer.batch_size",
                "solver.most",
            ]
        )
        self.demand(
            above_zero=["solver.remembered", "solver.recent", "max_new_tokens", "conjecturer.max_new_tokens"]
        )
        if self.solver.most > 1 or not 0 < self.conjecturer.share < 1:
            raise CounterpointError(
                f"{self.key}: solver.most={self.solver.most}, conjecturer.share={self.conjecturer.share}; expected shares, such as 0.5 and 0.7"
            )
        if "{statement}" not in self.template:
            raise CounterpointError(
                f"{self.key}: template={self.template!r} has no {{statement}}; it is what the solver proves"
            )
        if self.solver.objective == "cispo" and self.answers < 2:
            raise CounterpointError(
                f"{self.key}: answers=1, and cispo compares proofs of one statement; set --answers 8"
            )
        for text in targets:
            why = proves.refused(text)
            if why:
                raise CounterpointError(
                    f"{self.key}: the target {text[:80]!r} is no statement of {proves.name} ({why}); expected {proves.goal}"
                )
        return list(dict.fromkeys(targets))
