"""GRACE: a language model writes about a text before it embeds it, and contrast is the reward of what it wrote (arXiv 2510.04506).

The embedding of a text is the mean of its last hidden states over the text and a sampled rationale. Rationales of relevant documents
are rewarded for being near their query's (``objectives.contrast.rationale_reward``, eq. 13-17), and learnt by policy gradient with the
group's mean taken away (eq. 18-19): no gradient goes through an embedding. Without queries, one more rationale of the same text stands
in for its query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.language.problem import Problem
from counterpoint.data.retrieval.load import Retrieval
from counterpoint.errors import CounterpointError, counted
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own
from counterpoint.judges.judge import Verdicts
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Constant
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import adapt
from counterpoint.models.retrieval.embedder import INSTRUCTION, Embedder, Shown
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.objectives.contrast.rationale_reward import Cross, Rewards, contrastive_rewards
from counterpoint.pairs.demonstrations import check_template
from counterpoint.phases.policy_gradient import Clip, Update, group_advantages
from counterpoint.phases.rollouts import Rollouts, group_statistics, record_rollouts, sample_group
from counterpoint.training import Run

Pair = tuple[int, int]
"""Positions of a query and a document that is relevant to it; of the document twice where there are no queries."""
NAME = "contrast"


@dataclass
class Reward:
    """What a rationale is worth.

    Attributes:
        temperature: divides every part, but not ``cut_penalty``.
        consistency: weight of likeness to the text's other rationales. cross: weight of likeness across texts.
        cross_of: "query", the paper's, which is the same for all rationales of a text; "rollout" is not.
        negatives: other documents a query is compared with, drawn at random; the same for all rationales of a text.
        cut_penalty: minus this is the whole reward of a rationale that reached ``max_new_tokens``; none leaves it as it is.
    """

    temperature: float = 0.1
    consistency: float = 0.2
    cross: float = 0.2
    cross_of: Cross = "query"
    negatives: int = 1
    cut_penalty: float | None = 1.0


@dataclass(kw_only=True)
class GRACE(Method[Embedder, Retrieval]):
    """Contrastive policy optimisation of rationales.

    Attributes:
        objective: "grace", or "contrastive", the baseline: InfoNCE of queries and documents with gradient through the embeddings,
            nothing written.
        supervised: learn from queries with their relevant documents; without, from the documents alone.
        template: how a text is shown; what stands before {text} is not pooled.
        reward: of rationales; its temperature is also that of "contrastive".
        answers: rationales K per document. temperature: of their sampling. query_temperature: of the query's and the negatives' one.
        max_new_tokens: longest rationale.
        clip, dual_clip: of the importance ratio; where the advantage is negative it is at most ``dual_clip``.
        minibatches: steps that each batch is divided into. batch_size: documents per batch.
    """

    key: ClassVar[str] = "grace"
    shards: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3), "reward.cross": [0.0, 0.2, 0.5]}
    ablations: ClassVar[Ablations] = {
        "embeddings alone": {"objective": "contrastive"},
        "without consistency": {"reward.consistency": 0.0},
        "without likeness across texts": {"reward.cross": 0.0},
        "cut rationales unpunished": {"reward.cut_penalty": None},
    }

    objective: Literal["grace", "contrastive"] = "grace"
    supervised: bool = True
    template: str = INSTRUCTION
    reward: Reward = field(default_factory=Reward)
    answers: int = 8
    temperature: float = 1.0
    query_temperature: float = 0.5
    max_new_tokens: int = 2048
    clip: float = 0.2
    dual_clip: float = 3.0
    minibatches: int = 4
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 1e-6
    optimizer: Constant = field(default_factory=Constant)
    batch_size: int = 64
    epochs: float = 2.0

    def sequences(self) -> float:
        """The rationales of a document, divided over the steps of a batch; its query and itself where nothing is written."""
        return self.answers / self.minibatches if self.objective == "grace" else 2.0

    def fit(self, model: Embedder, data: Retrieval, run: Run) -> Embedder:
        """Write, embed, reward, push; one batch of documents at a time."""
        self.check(data)
        # Without dropout: what is sampled is what is trained.
        policy = run.state(model=adapt(model.language, self.lora_rank, run.seed, self.adapter).eval())
        written = self.max_new_tokens if self.objective == "grace" else 0
        encoder = Embedder(policy, Shown(self.template, written, model.shown.longest))
        cut = sum(len(text.split()) > encoder.shown.longest for text in (*data.documents, *data.queries))
        if cut:
            longer = counted(cut, "text is", "texts are")
            run.say(f"{longer} longer than {encoder.shown.longest} words, and read up to there")
        run.optimize(policy, self.optimizer.at(self.learning_rate))
        items = self._pairs(data)
        if self.objective == "contrastive":
            self._contrast(encoder, data, items, run)
            return encoder
        if (
            self.supervised
            and self.reward.cross_of == "query"
            and (self.reward.cross or self.reward.negatives)
        ):
            run.say(
                "negatives and cross term are the same for all rationales of a text, and the advantage takes them away; "
                "reward.cross_of=rollout makes the cross term count"
            )
        hot, cool = (
            Own(policy, Sampler(max_new_tokens=self.max_new_tokens, temperature=each))
            for each in (self.temperature, self.query_temperature)
        )
        update = Update(
            variant="bnpo",
            temperature=self.temperature,
            clip=Clip(self.clip, self.clip, self.dual_clip),
            minibatches=self.minibatches,
        )
        extra = 1 + (self.reward.negatives if self.supervised else 0)
        for batch in run.batches(items, self.batch_size, epochs=self.epochs):
            draws = batch.random.uniform(self.answers + extra, self.max_new_tokens)
            texts = [data.documents[document] for _, document in batch.items]
            questions = encoder.questions(texts)
            rollouts = sample_group(
                hot, [Problem(each) for each in questions], self.answers, draws[:, : self.answers], questions
            )
            against = self._against(data, batch.items, batch.random.uniform(max(extra - 1, 1)))
            embedded = self._embedded(encoder, cool, rollouts, against, draws[:, self.answers :])
            rewards = self._rewards(run, *embedded)
            total = rewards.total
            if self.reward.cut_penalty is not None:
                total = total.masked_fill(
                    ~rollouts.completions.ended.to(total.device), -self.reward.cut_penalty
                )
            advantage = group_advantages(run, total[:, None].double(), self.answers, "none")
            verdicts = Verdicts.of(
                total.reshape(-1, self.answers).tolist(), [[""] * self.answers] * len(texts)
            )
            record_rollouts(run, rollouts, [NAME], [verdicts], advantage)
            stats = group_statistics(rollouts, total[:, None], [NAME])
            for name in ("positive", "consistency", "cross"):
                stats[f"reward/{name}"] = getattr(rewards, name)
            update.learn(run, policy, rollouts, advantage, stats=stats)
        return encoder

    def _pairs(self, data: Retrieval) -> list[Pair]:
        if not self.supervised:
            return [(at, at) for at in range(len(data.documents))]
        return list(zip(data.train.query.tolist(), data.train.document.tolist()))

    def _against(self, data: Retrieval, items: Sequence[Pair], uniform_PN: Tensor) -> list[list[str]]:
        """What each document's rationales are compared with: its query, then the negatives; without labels, the text itself."""
        if not self.supervised:
            return [[data.documents[document]] for _, document in items]
        relevant: dict[int, set[int]] = {}
        for query, document in self._pairs(data):
            relevant.setdefault(query, set()).add(document)
        rows = []
        for (query, _), draws in zip(items, uniform_PN.tolist()):
            others = [at for at in range(len(data.documents)) if at not in relevant[query]]
            chosen = [others[int(draw * len(others))] for draw in draws[: self.reward.negatives]]
            rows.append([data.queries[query], *(data.documents[at] for at in chosen)])
        return rows

    @torch.no_grad()
    def _embedded(
        self, encoder: Embedder, cool: Own, rollouts: Rollouts, against: list[list[str]], draws: Tensor
    ) -> tuple[Tensor, Tensor]:
        """([P, K, D] of documents with their rationales, [P, 1 + N, D] of queries and negatives with theirs)."""
        language = encoder.language
        main = encoder.pool(language.prompts(rollouts.prompts), rollouts.completions)
        each = 1 + (self.reward.negatives if self.supervised else 0)
        questions = encoder.questions([text for row in against for text in row])
        sampled = cool(questions, 1, draws[:, :each].flatten(0, 1))
        other = encoder.pool(language.prompts(questions), sampled)
        return main.unflatten(0, (len(against), self.answers)), other.unflatten(0, (len(against), each))

    def _rewards(self, run: Run, main_PKD: Tensor, other_PED: Tensor) -> Rewards:
        """Of this process's rollouts, compared with the whole batch's."""
        count = self.answers
        main, other = run.gather_constant(main_PKD), run.gather_constant(other_PED)
        group = torch.arange(len(main), device=main.device).repeat_interleave(count)
        every = contrastive_rewards(
            main.flatten(0, 1),
            other[group, 0],
            group,
            negatives_MND=other[group, 1:] if other.shape[1] > 1 else None,
            temperature=self.reward.temperature,
            consistency=self.reward.consistency,
            cross=self.reward.cross,
            cross_of=self.reward.cross_of if self.supervised else "rollout",
        )
        mine = slice(run.row_offset * count, (run.row_offset + len(main_PKD)) * count)
        return Rewards(**{name: value[mine] for name, value in vars(every).items()})

    def _contrast(self, encoder: Embedder, data: Retrieval, items: list[Pair], run: Run) -> None:
        """InfoNCE in both directions over the whole batch; another pair of the same query or document is no negative."""
        for batch in run.batches(items, self.batch_size, epochs=self.epochs):
            sides = ([data.queries[q] for q, _ in batch.items], [data.documents[d] for _, d in batch.items])
            one, other = (encoder.pool(encoder.prompts(texts), forward=run.forward) for texts in sides)
            candidates = None if run.world == 1 else (run.gather(one), run.gather(other))
            pairs = run.gather_constant(
                torch.tensor(batch.items, dtype=torch.long, device=one.device).reshape(-1, 2)
            )
            run.step(
                symmetric_info_nce(
                    one, other, temperature=self.reward.temperature, candidates=candidates, offset=run.row_offset if candidates else 0,
                    repeats=_repeats(pairs),
                )
            )  # fmt: skip

    def check(self, data: Retrieval) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=["temperature", "query_temperature", "reward.temperature"])
        check_template(self.template, "text")
        for name, least in (("answers", 2), ("max_new_tokens", 1), ("minibatches", 1)):
            if getattr(self, name) < least:
                raise CounterpointError(
                    f"{self.key}: {name}={getattr(self, name)}; expected at least {least}"
                )
        if self.dual_clip < 1 + self.clip:
            raise CounterpointError(
                f"{self.key}: dual_clip={self.dual_clip}, below 1 + clip={1 + self.clip}; expected more, such as 3"
            )
        if self.minibatches > self.batch_size:
            raise CounterpointError(
                f"{self.key}: minibatches={self.minibatches} of batch_size={self.batch_size} documents; some would be empty"
            )
        if self.objective == "contrastive" and not self.supervised:
            raise CounterpointError(
                f"{self.key}: objective=contrastive sets queries against documents, and supervised=false has no queries; leave one out"
            )
        if self.supervised and self.reward.negatives and len(data.documents) < 2:
            raise CounterpointError(
                f"{self.key}: {len(data.documents)} document leaves no negative; add documents"
            )


def _repeats(pairs_N2: Tensor) -> Tensor:
    """[N] numbers, the same for pairs that share a query or a document, also by way of other pairs.

    >>> _repeats(torch.tensor([[0, 5], [1, 6], [0, 7], [2, 7]])).tolist()
    [0, 1, 0, 0]
    """
    numbers: list[int] = list(range(len(pairs_N2)))
    rows = pairs_N2.tolist()
    for at, (query, document) in enumerate(rows):
        for before in range(at):
            if rows[before][0] == query or rows[before][1] == document:
                old, new = sorted((numbers[at], numbers[before]), reverse=True)
                numbers = [new if each == old else each for each in numbers]
    return torch.tensor(numbers, device=pairs_N2.device)
