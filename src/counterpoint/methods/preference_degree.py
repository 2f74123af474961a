"""SPO: preference degree awareness beside any preference loss (arXiv 2409.17791): L = L_align + gamma L_degree.

Key content is removed from the answers, a little, more, all of it, and a small module must tell from the language model's own state how
much is gone; the state learns what makes an answer good. Only the abstract of the paper was to be had: what is not in it is reconstructed
(the form of removal, the module, all constants), and the page says so. The module is thrown away.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.conversation import Completion, Prompt, text_of
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.degree_head import DegreeHead, pooled
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.tokens import join
from counterpoint.objectives.preference.choice import check_choice
from counterpoint.objectives.preference.degree import degree, recognised
from counterpoint.objectives.preference.graded import Graded
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.key_content import Variant, decoys, variants
from counterpoint.pairs.key_extractors import Extractor, extractor, stop_words
from counterpoint.phases.preference.terms import PreferenceTerms, check_rows, scored_at_once
from counterpoint.training import Run

Written = tuple[Prompt, Completion, int]
"""A prompt, a shortened answer, and its degree."""


@dataclass
class Degree:
    """How degrees are made and recognised; all of it reconstructed.

    Attributes:
        weight: gamma; 0 is the preference loss alone, to the last bit.
        degrees: M, from the whole answer to one without any key content.
        extractor: of key content: "rake", "tfidf", "likelihood", or, as a control, "random" spans of the same lengths.
        stop_words: a file with words that are never key, one a line; empty is English.
        answers: which are shortened, "both" or "chosen".
        pooling: the state of the "last" token, or the "mean" over the answer's.
        sampled: variants of each answer that a step draws; 0 takes all.
        ordinal: thresholds between degrees instead of classes.
        decoys: answers of the same lengths that lose other words count as degree 0, so that length alone tells nothing.
        shuffled: a control: degrees are shuffled among the variants of an answer.
        head_speed: how much faster than the model the module learns.
    """

    weight: float = 0.1
    degrees: int = 4
    extractor: Literal["rake", "tfidf", "likelihood", "random"] = "rake"
    stop_words: str = ""
    answers: Literal["both", "chosen"] = "both"
    pooling: Literal["last", "mean"] = "last"
    sampled: int = 0
    ordinal: bool = False
    decoys: bool = False
    shuffled: bool = False
    head_speed: float = 10.0


@dataclass(kw_only=True)
class PreferenceDegree(Method[Language, PreferenceData]):
    """Learn from pairs, and to recognise how much of an answer's key content is there.

    Attributes:
        loss: the preference loss, any of ``dpo``'s; the settings up to undesirable_weight are as there.
        beta: scale of the implicit reward.
        smoothing: believed share of flipped labels, for the losses that know one.
        margin: target margin of simpo and slic.
        link: the divergence that ties policy to reference.
        length_weight: weight of tokens beyond the length both answers share; 1 is the ordinary sum.
        sft_weight: of the chosen answer's likelihood beside the loss; none: what the loss has by itself.
        sft_mean: whether that likelihood pools "token_mean" or averages "sequence_mean".
        graded: what is learnt of a pair beside its order: the data's margins, and ties.
        undesirable_weight: of bad answers under kto, against 1 for good ones.
        degree: how degrees are made and recognised.
        lora_rank: train adapters of this rank; 0 trains all weights. adapter: of those adapters.
        learning_rate: about ten times higher for adapters than for all weights. optimizer: how the weights move.
    """

    key: ClassVar[str] = "preference-degree"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {
        "degree.weight": [0.01, 0.1, 0.5, 1.0],
        "beta": (0.01, 0.5),
        "learning_rate": (5e-7, 1e-4),
    }
    ablations: ClassVar[Ablations] = {
        "without degrees": {"degree.weight": 0.0},
        "shuffled degrees": {"degree.shuffled": True},
        "random spans": {"degree.extractor": "random"},
        "with decoys": {"degree.decoys": True},
    }

    loss: str = "sigmoid"
    degree: Degree = field(default_factory=Degree)
    beta: float = 0.1
    smoothing: float = 0.0
    margin: float = 0.0
    link: str = "reverse_kl"
    length_weight: float = 1.0
    sft_weight: float | None = None
    sft_mean: str = "token_mean"
    graded: Graded = field(default_factory=Graded)
    undesirable_weight: float = 1.0
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Linear = field(default_factory=Linear)
    batch_size: int = 32
    epochs: float = 1.0

    def __post_init__(self) -> None:
        """Refuse fewer than two degrees."""
        super().__post_init__()
        if self.degree.degrees < 2:
            raise CounterpointError(
                f"{self.key}: degree.degrees={self.degree.degrees}; expected at least 2, whole and stripped"
            )

    def check(self, data: PreferenceData) -> None:
        """Refuse rows that the loss cannot learn from."""
        check_rows(self, data.train, self.key)

    def sequences(self) -> float:
        """Both answers, and the variants of those that are shortened."""
        chosen, pair = self.degree, 4.0 if self.loss == "kto" else 2.0
        each = chosen.sampled or chosen.degrees + (chosen.degrees - 1 if chosen.decoys else 0)
        return pair + (each * (2 if chosen.answers == "both" else 1) if chosen.weight else 0)

    def staged(self) -> float:
        """The answers whose log-probabilities are those of the reference."""
        return scored_at_once(self)

    def fit(self, model: Language, data: PreferenceData, run: Run) -> Language:
        """Train on ``data.train``; the degrees are made once, of the answers as they are."""
        for line in check_choice(self):
            run.say(line)
        self.check(data)
        policy = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        rows, chosen = data.train, self.degree
        terms = PreferenceTerms(self, self.key, policy, rows, run)
        trained: nn.Module = policy
        if chosen.weight:
            outputs = chosen.degrees - 1 if chosen.ordinal else chosen.degrees
            width = policy.head.weight.shape[1]
            head = run.state(head=DegreeHead(width, outputs, chosen.head_speed).to(policy.head.weight.dtype))
            trained = nn.ModuleList([policy, head])
            shortened = self._shortened("variants", policy, rows, rows, run)
        run.optimize(trained, self.optimizer.at(self.learning_rate))
        for batch in run.batches(
            range(len(rows)), self.batch_size, epochs=self.epochs, drop_last=terms.drop_last
        ):
            losses, tokens = terms.of(batch.index, batch.items)
            if chosen.weight:
                draws = batch.random.uniform(4 * chosen.degrees)
                written = _drawn([shortened[int(at)] for at in batch.items], draws, chosen.sampled)
                logits, degree_N = self._logits(policy, head, written, run)
                right = recognised(logits, ordinal=chosen.ordinal) == degree_N
                losses["degree"] = Loss(
                    degree(logits, degree_N, ordinal=chosen.ordinal),
                    weight=chosen.weight,
                    stats={"accuracy": right.detach().float()},
                )
            run.step(losses, tokens=tokens)
        if chosen.weight and len(data.validation):
            self._report(policy, head, rows, data.validation, run)
        return policy

    def _logits(
        self, policy: Language, head: DegreeHead, written: Sequence[Written], run: Run
    ) -> tuple[Tensor, Tensor]:
        """What the module says of each variant, and the degree it has."""
        degree_N = torch.tensor([each[2] for each in written], dtype=torch.long, device=policy.device)
        if not written:  # a process without a row of a small last batch
            return head(policy.head.weight.new_zeros(0, policy.head.weight.shape[1])), degree_N
        prompts, answers = policy.rows([each[0] for each in written], [each[1] for each in written])
        both = join(prompts, answers)
        states_NLD = run.forward(policy, both.ids, both.mask)
        return head(pooled(states_NLD, prompts, answers, self.degree.pooling)), degree_N

    def _shortened(
        self, stage: str, policy: Language, rows: Preferences, corpus: Preferences, run: Run
    ) -> list[list[list[Written]]]:
        """For each row, for each of its answers, the variants; a durable stage, for a likelihood takes passes."""
        answers = [text for row in corpus for text in (row.chosen, row.rejected) if text]
        find = extractor(self.degree.extractor, stop_words(self.degree.stop_words), answers, policy, run.seed)

        def made(shard: Sequence[int]) -> list[list[list[list[Any]]]]:
            return [self._of_row(rows[at], at, find, run.seed) for at in shard]

        plain = run.stage(stage, made, over=range(len(rows)))
        return [
            [
                [(rows[at].prompt, _with_text(answer, text), number) for text, number in variants_of]
                for answer, variants_of in zip(self._answers(rows[at]), per_row, strict=True)
            ]
            for at, per_row in enumerate(plain)
        ]

    def _answers(self, row: Preference) -> list[Completion]:
        given = (row.chosen, row.rejected) if self.degree.answers == "both" else (row.chosen,)
        return [answer for answer in given if answer]

    def _of_row(self, row: Preference, at: int, find: Extractor, seed: int) -> list[list[list[Any]]]:
        chosen, draw, result = self.degree, random.Random(f"{seed}/{at}"), []
        for answer in self._answers(row):
            text = _last_text(answer)
            phrases = find(row.prompt, text)
            made: list[Variant] = variants(text, phrases, chosen.degrees)
            numbers = [each.degree for each in made]
            if chosen.shuffled:
                draw.shuffle(numbers)
            pairs: list[list[Any]] = [[each.text, number] for each, number in zip(made, numbers)]
            if chosen.decoys:
                pairs += [[each.text, 0] for each in decoys(text, phrases, chosen.degrees, draw)]
            result.append(pairs)
        return result

    def _report(
        self, policy: Language, head: DegreeHead, corpus: Preferences, rows: Preferences, run: Run
    ) -> None:
        """How many degrees of held-out answers the module recognises."""
        shortened = self._shortened("validation-variants", policy, rows, corpus, run)
        flat = [each for per_row in shortened for per_answer in per_row for each in per_answer]

        def accuracy() -> float:
            right = 0
            with torch.no_grad():
                for start in range(0, len(flat), 32):
                    logits, degree_N = self._logits(policy, head, flat[start : start + 32], run)
                    right += int((recognised(logits, ordinal=self.degree.ordinal) == degree_N).sum())
            return right / len(flat)

        run.report(degree_accuracy=run.stage("degree-accuracy", accuracy))


def _drawn(rows: list[list[list[Written]]], draws_BR: Tensor, sampled: int) -> list[Written]:
    """The variants of a step: all of every answer, or some, by each row's own random numbers."""
    result: list[Written] = []
    for per_row, draws in zip(rows, draws_BR.tolist()):
        numbers = iter(draws)
        for per_answer in per_row:
            keys = [next(numbers) for _ in per_answer] if sampled else []
            order = sorted(range(len(keys)), key=keys.__getitem__)[:sampled]
            result += [per_answer[at] for at in sorted(order)] if sampled else per_answer
    return result


def _last_text(answer: Completion) -> str:
    return answer if isinstance(answer, str) else text_of(answer[-1:])


def _with_text(answer: Completion, text: str) -> Completion:
    """The answer with another text; of several messages the last is replaced."""
    return text if isinstance(answer, str) else [*answer[:-1], {**answer[-1], "content": text}]
