"""SPECS: a cold start that learns the form alone, from one's own preferences (arXiv 2510.25801). Reinforcement learning follows.

Both answers of a pair are right; the chosen one is in the form, the rejected one's form is spoilt by a rule, so that nothing of the
content is learnt. From the model itself (the reference),

    L = w L_DPO + lambda L_SFT,   L_DPO = -log sigmoid(beta [u(y_w) - u(y_l)]),   L_SFT = -mean_t log pi(y_w,t).

Then ``grpo`` goes on from the saved model, with the same form in its reward.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from counterpoint.conversation import Prompt
from counterpoint.data.language.answer import Answer
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.tagged import CORRUPTIONS, Tags
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.generalization import format_accuracy, generalization_factor
from counterpoint.generation.authors import Author, Writer
from counterpoint.judges.choose import judge as choose_judge
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.phases.pair_learning import TextPair, hybrid, pair_reference, pair_tokens
from counterpoint.phases.self_training import SHARD
from counterpoint.training import Run
from counterpoint.training.seeds import derive


@dataclass
class Source(Writer):
    """Who writes the chosen answers: the settings of ``Writer``, with a temperature of 1."""

    temperature: float = 1.0


@dataclass
class Watch:
    """Measuring the form while it is learnt: a group of settings.

    Attributes:
        every: steps between measurements; 0 measures nothing.
        others: other names of the tags for what is out of distribution, pairs with semicolons between.
        rows: validation prompts of a measurement.
        beta: of the generalization factor.
    """

    every: int = 0
    others: str = "reasoning result; thought solution; plan reply"
    rows: int = 64
    beta: float = 2.0


@dataclass(kw_only=True)
class SPECS(Method[Language, ProblemData]):
    """Learn the form from own answers whose form is right or spoilt.

    Attributes:
        tags: the names of the two tags, reasoning and answer.
        answers: sampled to a problem, of which the first right one is taken.
        judge: who says that an answer is right.
        consistent: another judge that must give the chosen answer at least 1/2, for instance "rated:MODEL"; none when empty.
        rejected_from: "base" spoils a right answer of the model itself, "chosen" the chosen one.
        corruptions: the ways of spoiling, with commas between; one is drawn a pair.
        beta: strength of the tie to the model at the start.
        preference_weight, sft_weight: of the two terms; the paper's are 1 and 1.
        learning_rate, epochs, batch_size: of the training, in pairs.
        lora_rank: train adapters of this rank; 0 trains all weights.
        source: who writes the chosen answers: the model itself, or the folder of one that ``grpo`` made of it.
        watch: measuring the form while it is learnt.
    """

    key: ClassVar[str] = "specs"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-7, 1e-4), "beta": (0.05, 0.5)}
    ablations: ClassVar[Ablations] = {
        "without preferences": {"preference_weight": 0.0},
        "without likelihood": {"sft_weight": 0.0},
        "its own answers, corrupted": {"rejected_from": "chosen"},
    }

    tags: str = "think answer"
    answers: int = 4
    judge: str = "verifier"
    consistent: str = ""
    rejected_from: Literal["base", "chosen"] = "base"
    corruptions: str = ",".join(CORRUPTIONS)
    beta: float = 0.1
    preference_weight: float = 1.0
    sft_weight: float = 1.0
    learning_rate: float = 1e-6
    epochs: float = 1.0
    batch_size: int = 64
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Constant = field(default_factory=Constant)
    source: Source = field(default_factory=Source)
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(above_zero=("answers", "beta", "batch_size", "source.max_new_tokens"))
        Tags.of(self.tags)
        [Tags.of(each) for each in self._others()]
        unknown = [each for each in self._kinds() if each not in CORRUPTIONS]
        if unknown or not self._kinds():
            raise CounterpointError(
                f"{self.key}: corruptions={self.corruptions!r}; expected some of {', '.join(CORRUPTIONS)}, with commas between"
            )
        if not self.preference_weight and not self.sft_weight:
            raise CounterpointError(
                f"{self.key}: both weights are 0, and nothing is left to learn; raise one"
            )

    def sequences(self) -> float:
        """The chosen and the rejected answer."""
        return 2.0

    def staged(self) -> float:
        """The answers of a shard's prompts, or its pairs where these are more."""
        return SHARD * max(float(self.answers), 2.0)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Write right answers, put them into the form, spoil it for the rejected ones, and learn which is which."""
        tags, rows = Tags.of(self.tags), data.train.rows
        without = next((row for row in rows if not tags.named_in(row.prompt)), None)
        if without is not None:
            raise CounterpointError(
                f"{self.key}: the prompt '{without.question[:60]}' does not name the tags <{tags.reasoning}> and <{tags.answer}>; "
                "write into every prompt how an answer should look, or name the data's own tags: --tags 'REASONING ANSWER'"
            )
        policy: Language = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        source, own = self.source.build(policy, run.out), replace(self.source, author="self").build(policy)
        same = self.source.author == "self" or self.rejected_from == "chosen"
        chosen = self._right_answers(run, "chosen", source, data, rows, policy)
        base = chosen if same else self._right_answers(run, "rejected", own, data, rows, policy)
        pairs = [
            self._pair(tags, at, chosen[at], base[at], run.seed)
            for at in range(len(rows))
            if chosen[at] and base[at]
        ]  # fmt: skip
        run.log(problems=len(rows), pairs=len(pairs))
        if not pairs:
            raise CounterpointError(
                f"{self.key}: none of {len(rows)} problems has an answer that {self.judge} finds right; raise answers, or give a "
                "source that can solve them"
            )
        run.record_samples(
            
                {"prompt": rows[each["prompt"]].question, "answers": [
                    {"text": each[name], "rewards": {"form": float(name == "chosen")}} for name in ("chosen", "rejected")
                ]}
                for each in (pairs if run.rank == 0 else [])
            
        )  # fmt: skip
        self._learn(run, policy, rows, pairs, data)
        return policy

    def _others(self) -> list[str]:
        return [each.strip() for each in self.watch.others.split(";") if each.strip()]

    def _kinds(self) -> list[str]:
        return [each.strip() for each in self.corruptions.split(",") if each.strip()]

    def _right_answers(
        self,
        run: Run,
        name: str,
        author: Author,
        data: ProblemData,
        rows: Sequence[Problem],
        policy: Language,
    ) -> list[str]:
        """For each problem the first of its answers that is right, in the form; "" where none is. A durable stage."""
        tags = Tags.of(self.tags)
        judges = [
            choose_judge(spec, scorer=data.train.scorer, model=policy)
            for spec in (self.judge, self.consistent)
            if spec
        ]

        def written(shard: Sequence[int]) -> list[str]:
            problems = [rows[at] for at in shard]
            prompts: list[Prompt] = [problem.prompt for problem in problems for _ in range(self.answers)]
            texts = [each["text"] for each in author(prompts, derive(run.seed, name, shard[0]))]
            formed = [tags.supplemented(text) if tags.bare(text).strip() else "" for text in texts]
            bare = [(tags.parts(text) or ("", ""))[1] for text in formed]
            groups = [range(at * self.answers, (at + 1) * self.answers) for at in range(len(problems))]
            answers = [[Answer(ids=[], text=bare[n], ended=True) for n in group] for group in groups]
            whole = [[Answer(ids=[], text=formed[n], ended=True) for n in group] for group in groups]
            rewards = [judge(problems, shown).rewards for judge, shown in zip(judges, (answers, whole))]
            right = torch.stack(rewards).ge(0.5).all(0).tolist()
            return [
                next((formed[n] for n, ok in zip(group, row) if ok and tags.parts(formed[n])), "")
                for group, row in zip(groups, right)
            ]

        return run.stage(name, written, over=range(len(rows)), size=SHARD)

    def _pair(self, tags: Tags, at: int, chosen: str, base: str, seed: int) -> TextPair:
        kind = random.Random(derive(seed, "corruption", at)).choice(self._kinds())
        return TextPair(prompt=at, chosen=chosen, rejected=tags.corrupted(base, kind))

    def _learn(
        self,
        run: Run,
        policy: Language,
        rows: Sequence[Problem],
        pairs: Sequence[TextPair],
        data: ProblemData,
    ) -> None:
        reference = pair_reference(run, policy, rows, pairs)
        start: dict[str, Any] | None = None
        if self.watch.every:
            start = run.stage("form", partial(self._measured, policy, data, 0, None))
            run.report(form=[start])
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        for batch in run.batches(range(len(pairs)), self.batch_size, epochs=self.epochs):
            prompts, answers = pair_tokens(policy, rows, [pairs[int(at)] for at in batch.items])
            logp = completion_log_probs(policy, prompts, answers, forward=run.forward)
            terms = hybrid(
                logp, answers, reference[batch.index].to(logp), beta=self.beta,
                preference_weight=self.preference_weight, sft_weight=self.sft_weight,
            )  # fmt: skip
            run.step(terms, tokens=int(answers.authored.sum()))
            number = batch.step + 1
            if start is not None and number % self.watch.every == 0:
                run.report(form=[run.stage("form", partial(self._measured, policy, data, number, start))])

    def _measured(
        self, policy: Language, data: ProblemData, step: int, start: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Format accuracy with the trained tags and with others, and the generalization factor of the gains, in points."""
        rows, tags = data.validation[: self.watch.rows], Tags.of(self.tags)
        if not rows:
            raise CounterpointError(
                f"{self.key}: watch.every={self.watch.every} measures on validation prompts, and the data has none; give it a "
                "validation part, or set watch.every=0"
            )
        prompts = [row.prompt for row in rows]
        accuracy = lambda renamed, names: format_accuracy(  # noqa: E731
            policy, renamed, names, max_new_tokens=self.source.max_new_tokens
        )
        inside = accuracy(prompts, tags)
        others = [Tags.of(each) for each in self._others()]
        outside = [accuracy([tags.renamed(prompt, other) for prompt in prompts], other) for other in others]
        row = {"step": step, "trained_tags": inside, "other_tags": sum(outside) / max(len(outside), 1)}
        first = row if start is None else start
        gains = [100 * (row[name] - first[name]) for name in ("trained_tags", "other_tags")]
        return {**row, "factor": generalization_factor(gains[0], gains[1], self.watch.beta)}
