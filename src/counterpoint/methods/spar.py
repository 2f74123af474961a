"""SPaR: self-play with tree-search refinement (arXiv 2412.11605). Pairs that differ only where the instruction was not followed.

Every round the actor answers, the refiner (a second copy of the model) judges by majority, and rewrites one rejected answer a prompt in a
tree search until a judge accepts it. The actor learns from (refined y_w, rejected y_l) against itself of the round before,

    L = -log sigmoid(beta [u(y_w) - u(y_l)]) - alpha mean_t log pi(y_w,t),    u = log pi - log pi_before,

and the refiner, by likelihood, from the refinements and judgements that the searches came to.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from counterpoint.conversation import Message
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.prompted import picked
from counterpoint.errors import CounterpointError
from counterpoint.generation.authors import Author, Writer
from counterpoint.generation.refinement_tree import Tree
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import CandidateSource
from counterpoint.judges.choose import judge as choose_judge
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.tokens import sequence_sum
from counterpoint.phases.pair_learning import TextPair, hybrid, pair_reference, pair_tokens
from counterpoint.phases.refinement import Critic, JudgeCritic, VotedCritic, refined
from counterpoint.phases.refiner_examples import Example, Shares, chosen_examples, of_answers, of_tree
from counterpoint.phases.self_training import SHARD, record_answers, sample_answers
from counterpoint.training import Optimizer, Run
from counterpoint.training.seeds import derive


@dataclass
class Refiner(Writer):
    """Who judges and refines, and how it learns: the settings of ``Writer`` and a few more.

    Attributes:
        author: as of ``Writer``; "self" is a second copy of the model, which learns every round; any other learns nothing.
        learning_rate, epochs, batch_size: of its training; 0 epochs train nothing.
    """

    max_new_tokens: int = 3072
    learning_rate: float = 2e-6
    epochs: float = 5.0
    batch_size: int = 32


@dataclass(kw_only=True)
class SPaR(Method[Language, ProblemData]):
    """Follow instructions better by refining one's own answers.

    Attributes:
        rounds: each on its own part of the prompts.
        answers: sampled to a prompt.
        judge: "votes" of the refiner, or any other judge's name, whose reward is the value (accepted above ``tree.gate``).
        votes: of a judgement.
        guarded: read verdicts and refinements by tags that no answer can know; False is the published contract.
        temperature, top_p, max_new_tokens: of the actor's answers.
        beta: strength of the tie to the model of the round before.
        sft_weight: alpha, of the accepted answers' likelihood.
        learning_rate, epochs, batch_size: of the actor's training, in pairs.
        lora_rank: train adapters of this rank; 0 trains all weights.
        tree: how to search.
        refiner: who judges and refines, and how it learns.
        shares: how many examples of each kind the refiner learns from in a round.
        sampler: where answers are sampled: the actor itself, a vLLM server that follows it, or another server.
    """

    key: ClassVar[str] = "spar"
    optional: ClassVar[tuple[str, ...]] = ("refiner.epochs",)
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (5e-8, 2e-6), "beta": (0.05, 0.5)}
    ablations: ClassVar[Ablations] = {
        "without refinement": {"tree.budget": 0},
        "depth first": {"tree.order": "dfs"},
        "a refiner that does not learn": {"refiner.epochs": 0.0},
        "without likelihood of what is accepted": {"sft_weight": 0.0},
    }

    rounds: int = 3
    answers: int = 5
    judge: str = "votes"
    votes: int = 5
    guarded: bool = True
    temperature: float = 0.9
    top_p: float = 0.9
    max_new_tokens: int = 2048
    beta: float = 0.1
    sft_weight: float = 0.1
    learning_rate: float = 2e-7
    epochs: float = 1.0
    batch_size: int = 32
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Linear = field(default_factory=Linear)
    tree: Tree = field(default_factory=Tree)
    refiner: Refiner = field(default_factory=Refiner)
    shares: Shares = field(default_factory=Shares)
    sampler: CandidateSource = field(default_factory=CandidateSource)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(
            above_zero=("answers", "votes", "batch_size", "beta", "tree.branch", "tree.select", "tree.depth")
        )
        self.demand(above_zero=("tree.tries", "refiner.batch_size"))

    def sequences(self) -> float:
        """The chosen and the rejected answer."""
        return 2.0

    def staged(self) -> float:
        """The answers of a shard's prompts, or its pairs where these are more."""
        return SHARD * max(float(self.answers), 2.0)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """``rounds`` times: answer, judge, refine what was rejected; then the actor learns from pairs, the refiner from the searches."""
        rows = data.train.rows
        if len(rows) < self.rounds:
            raise CounterpointError(
                f"{self.key}: {len(rows)} prompts do not fill {self.rounds} rounds; give more, or lower rounds"
            )
        twin = copy.deepcopy(model) if self.refiner.author == "self" else None
        actor: Language = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        if twin is not None:
            twin = run.state(refiner=adapt(twin, self.lora_rank, run.seed, self.adapter).eval())
        refiner = self.refiner.build(actor if twin is None else twin, run.out)
        critic, first = self._critics(refiner, data, actor)
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        sampler = self.sampler.build(self.key, actor, how, folder=run.out)
        for r in run.rounds(self.rounds):
            problems = picked(rows, range(r, len(rows), self.rounds))
            drawn = sample_answers(run, sampler, problems, self.answers, r)
            judged = self._judged(run, first, problems, drawn, r)
            rejected = _one_rejected(judged, derive(run.seed, "rejected", r))
            trees = self._searched(run, refiner, critic, problems, drawn, judged, rejected, r)
            pairs = [
                TextPair(prompt=at, chosen=each["best"], rejected=drawn[at][n]["text"])
                for (at, n), each in zip(rejected.items(), trees)
                if each["accepted"]
            ]  # fmt: skip
            values = torch.tensor([[each["value"] for each in row] for row in judged], dtype=torch.float64)
            record_answers(run, problems, drawn, self.judge, values.reshape(len(problems), -1))
            counts = {
                "follows": float(values.mean()), "rejected": len(rejected), "pairs": len(pairs),
                "refinements": sum(each["requested"] for each in trees),
            }  # fmt: skip
            run.log(round=r, **counts)
            run.report(searches=[{"round": r, **counts}])
            if pairs:
                self._learn(run, actor, problems, pairs)
            else:
                run.say(
                    f"round {r}: no rejected answer was refined until it was accepted; nothing is learnt from pairs"
                )
            examples = chosen_examples(
                [each for tree in trees for each in tree["examples"]]
                + of_answers(problems, drawn, judged, self.guarded),
                self.shares,
                derive(run.seed, "examples", r),
            )
            if twin is not None and examples and self.refiner.epochs:
                self._learn_refiner(run, twin, examples)
        if twin is not None and run.rank == 0:
            twin.save(run.out / "refiner")
        return actor

    def _critics(self, refiner: Author, data: ProblemData, actor: Language) -> tuple[Critic, Critic]:
        """Who values refinements, and who values sampled answers (a tie among them is not voted on again)."""
        if self.judge == "votes":
            rounds = VotedCritic(refiner, self.votes, guarded=self.guarded)
            return rounds, VotedCritic(refiner, self.votes, rounds=1, guarded=self.guarded)
        critic = JudgeCritic(choose_judge(self.judge, scorer=data.train.scorer, model=actor))
        return critic, critic

    def _judged(
        self, run: Run, critic: Critic, problems: Sequence[Problem], drawn: Sequence[Sequence[Answer]], r: int
    ) -> list[list[Any]]:
        """The judgements of all answers, as a durable stage."""

        def judged(shard: Sequence[int]) -> list[list[Any]]:
            flat = [(problems[at], answer["text"]) for at in shard for answer in drawn[at]]
            seed = derive(run.seed, "judge", r, shard[0])
            rest = iter(critic([p for p, _ in flat], [text for _, text in flat], seed))
            return [[dict(next(rest)) for _ in drawn[at]] for at in shard]

        return run.stage("judge", judged, over=range(len(problems)), size=SHARD)

    def _searched(
        self,
        run: Run,
        refiner: Author,
        critic: Critic,
        problems: Sequence[Problem],
        drawn: Sequence[Sequence[Answer]],
        judged: Sequence[Sequence[Any]],
        rejected: dict[int, int],
        r: int,
    ) -> list[dict[str, Any]]:
        """For every rejected answer what its search came to, and what it teaches the refiner, as a durable stage."""
        places = list(rejected.items())

        def searched(shard: Sequence[int]) -> list[dict[str, Any]]:
            chosen = [places[number] for number in shard]
            mine = [problems[at] for at, _ in chosen]
            roots = [(drawn[at][n]["text"], str(judged[at][n]["critique"])) for at, n in chosen]
            seed = derive(run.seed, "tree", r, shard[0])
            outcomes = refined(mine, roots, refiner, critic, self.tree, seed=seed, guarded=self.guarded)
            return [
                {
                    "accepted": outcome.accepted,
                    "best": outcome.best.text,
                    "value": outcome.best.value,
                    "requested": outcome.refinements,
                    "examples": [dict(each) for each in of_tree(problem, outcome, self.guarded)],
                }
                for problem, outcome in zip(mine, outcomes)
            ]

        return run.stage("search", searched, over=range(len(places)), size=SHARD)

    def _learn(
        self, run: Run, actor: Language, problems: Sequence[Problem], pairs: Sequence[TextPair]
    ) -> None:
        """DPO with the accepted answers' likelihood, against the actor as it is now."""

        reference = pair_reference(run, actor, problems, pairs)
        run.optimize(actor, self.optimizer.at(self.learning_rate), name="actor")
        for batch in run.batches(range(len(pairs)), self.batch_size, epochs=self.epochs, name="pairs"):
            prompts, answers = pair_tokens(actor, problems, [pairs[int(at)] for at in batch.items])
            logp = completion_log_probs(actor, prompts, answers, forward=run.forward)
            terms = hybrid(
                logp, answers, reference[batch.index].to(logp), beta=self.beta, sft_weight=self.sft_weight
            )
            run.step(terms, tokens=int(answers.authored.sum()), optimizer="actor")

    def _learn_refiner(self, run: Run, refiner: Language, examples: Sequence[Example]) -> None:
        """Likelihood of what the refiner wrote, all tokens of a batch weighing the same."""
        rule: Optimizer = self.optimizer.at(self.refiner.learning_rate)
        run.optimize(refiner, rule, name="refiner-optimizer")
        batches = run.batches(
            range(len(examples)), self.refiner.batch_size, epochs=self.refiner.epochs, name="refiner"
        )
        for batch in batches:
            items = [examples[int(at)] for at in batch.items]
            prompts: list[list[Message]] = [list(item["prompt"]) for item in items]
            before, replies = refiner.rows(prompts, [item["reply"] for item in items])  # type: ignore[arg-type]
            logp = completion_log_probs(refiner, before, replies, forward=run.forward)
            run.step(
                nll(sequence_sum(logp, replies.authored), replies.authored.sum(1)),
                tokens=int(replies.authored.sum()),
                optimizer="refiner-optimizer",
            )


def _one_rejected(judged: Sequence[Sequence[Any]], seed: int) -> dict[int, int]:
    """Of every problem with rejected answers, the number of one of them, at random."""
    draw, result = random.Random(seed), {}
    for at, row in enumerate(judged):
        rejected = [n for n, each in enumerate(row) if each["label"] == 0]
        if rejected:
            result[at] = draw.choice(rejected)
    return result
