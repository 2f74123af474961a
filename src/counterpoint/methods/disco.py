"""DiSCo: a sparse encoder of whole conversations learns the scores that rewrites of their last turns get (arXiv 2410.14609).

    L = w KL(softmax(S) || softmax(s)) + ...,   s_d = <E_q(conversation), E_d(d)>,   S_d = mean_k <E_d(rewrite_k), E_d(d)>

over one relevant document and hard negatives. Whatever vector of the conversation ranks as the rewrite does will do; nobody rewrites when the
model is used. Documents are encoded once, by the encoder that training started from. B queries, N negatives, V entries.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from counterpoint.data.retrieval.load import Retrieval
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Linear
from counterpoint.models.retrieval.sparse import Shape, SparseRetriever
from counterpoint.models.retrieval.sparse_rows import SparseRows
from counterpoint.objectives.contrast.noise_contrast import infonce
from counterpoint.objectives.distillation.candidate_scores import Fusion, margin_error, score_distillation
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.sparsity import flops, l1_norm, not_all_zero, rising_weight
from counterpoint.phases.retrieval.candidates import Candidates, Positive
from counterpoint.phases.retrieval.rewriting import DATA, TEMPLATE, rewrites
from counterpoint.phases.retrieval.teacher_scores import encoded, mean_rows, of_run_file, rankings
from counterpoint.training import Run


@dataclass
class Weights:
    """Of the terms; the authors' program has scores 0.99 with contrast 0.01 unless told, the paper scores alone.

    Attributes:
        scores: KL of the teachers' distribution over the candidates from the student's.
        contrast: InfoNCE of the relevant document against the negatives of the whole batch.
        margins: squared differences of the scores' differences.
        vectors: mean squared difference from the rewrites' mean vector: representation distillation, the baseline.
        not_zero: 1 / (sum of the batch's vectors)^2, a guard.
    """

    scores: float = 1.0
    contrast: float = 0.0
    margins: float = 0.0
    vectors: float = 0.0
    not_zero: float = 1.0


@dataclass
class Sparsity:
    """A penalty on the vectors of conversations.

    Attributes:
        weight: of the penalty. penalty: "l1", the mean sum of a vector's entries; "flops", the squared mean of each entry, summed.
        steps: over so many the weight rises with their square; 0 has it whole from the start.
    """

    weight: float = 0.0
    penalty: Literal["l1", "flops"] = "l1"
    steps: int = 0


@dataclass
class Negatives:
    """Which documents are set against the relevant one.

    Attributes:
        count: negatives of a query in each step.
        depth: documents that a teacher ranks. skip: first ranks that are no negatives, since they may be relevant. keep: ranks after these.
        positive: score of the relevant document: "teacher", its own; "highest", that of the best rank kept where it is not among
            them, as in the authors' program.
    """

    count: int = 16
    depth: int = 1000
    skip: int = 10
    keep: int = 950
    positive: Positive = "teacher"


@dataclass
class Teacher:
    """Who rewrites, and how several become one.

    Attributes:
        rewriters: "data", all rewrites that the data has, "data:NAME", a causal model's folder or bundled name, or "NAME@URL", a server.
        fusion: of their scores of a document: "mean", "max", or "scaled", the mean of scores brought to one range.
        run: a TREC run of the training queries, any retriever's, in place of the rewrites' scores.
        rescale: bring each query's scores of that run to the range that the rewrites give.
        template: what a model that rewrites is shown, with {conversation}. max_new_tokens: longest rewrite.
    """

    rewriters: tuple[str, ...] = (DATA,)
    fusion: Fusion = "mean"
    run: str = ""
    rescale: bool = False
    template: str = TEMPLATE
    max_new_tokens: int = 64


@dataclass
class Warmed(Linear):
    """As ``Linear``, after a short rise."""

    warmup: float = 0.01


@dataclass(kw_only=True)
class DiSCo(Method[SparseRetriever, Retrieval]):
    """Distillation of scores into a sparse encoder of conversations.

    Attributes:
        weights: of the terms. temperature: of both distributions over the candidates.
        sparsity, negatives, teacher: see there.
        reads: what the student is shown: the "conversation", the newest utterance first, or the "query" alone.
        query_tokens, document_tokens: longest texts.
        batch_size: queries per batch.
        epochs: passes over the training queries.
    """

    key: ClassVar[str] = "disco"
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-3), "sparsity.weight": [0.0, 5e-4, 5e-3]}
    ablations: ClassVar[Ablations] = {
        "contrast instead of scores": {"weights.scores": 0.0, "weights.contrast": 1.0},
        "with a penalty of sparsity": {"sparsity.weight": 0.0005},
        "the last question alone": {"reads": "query"},
    }

    weights: Weights = field(default_factory=Weights)
    temperature: float = 1.0
    sparsity: Sparsity = field(default_factory=Sparsity)
    negatives: Negatives = field(default_factory=Negatives)
    teacher: Teacher = field(default_factory=Teacher)
    reads: Literal["conversation", "query"] = "conversation"
    query_tokens: int = 256
    document_tokens: int = 256
    learning_rate: float = 2e-5
    optimizer: Warmed = field(default_factory=Warmed)
    batch_size: int = 10
    epochs: float = 5.0

    def fit(self, model: SparseRetriever, data: Retrieval, run: Run) -> SparseRetriever:
        """Rewrite, encode and rank once; then batches of conversations with their candidates."""
        self.check(data)
        shape = Shape(self.reads, self.query_tokens, self.document_tokens)
        fixed = run.constant(copy.deepcopy(model.documents))
        student = run.state(model=model.queries)
        retriever = SparseRetriever(student, fixed, shape)
        run.optimize(student, self.optimizer.at(self.learning_rate))
        queries = data.train.queries
        relevant = [set(data.train.document[data.train.query == query].tolist()) for query in queries]
        documents = encoded(run, "documents", retriever.encode_documents, data.documents)
        targets = self._rewritten(retriever, data, queries, run)
        if self.teacher.run:
            like = documents if self.teacher.rescale else None
            ranked = of_run_file(self.teacher.run, data, queries, self.key, like, targets)
        else:
            fusion, depth = self.teacher.fusion, self.negatives.depth
            ranked = rankings(run, documents, targets, relevant, fusion=fusion, depth=depth)
        among = Candidates(
            ranked, relevant, count=self.negatives.count, skip=self.negatives.skip, keep=self.negatives.keep,
            positive=self.negatives.positive,
        )  # fmt: skip
        texts = [
            student.joined(
                data.conversation(query) if self.reads == "conversation" else [data.queries[query]]
            )
            for query in queries
        ]
        student.train()
        for batch in run.batches(range(len(queries)), self.batch_size, epochs=self.epochs):
            rows = [int(each) for each in batch.items]
            candidates, scores = among.draw(rows, batch.random.uniform(among.draws).cpu())
            tokens = student.tokenize([texts[row] for row in rows], self.query_tokens)
            vectors = run.forward(student, tokens.ids, tokens.mask)
            vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
            losses = self._losses(
                vectors, documents, candidates, scores.to(vectors.device), targets, rows, run
            )
            step = batch.step + 1
            if self.sparsity.weight:
                weight = rising_weight(self.sparsity.weight, step, self.sparsity.steps)
                penalty = l1_norm(vectors) if self.sparsity.penalty == "l1" else flops(vectors, run.gather)
                losses["sparsity"] = Loss(penalty, weight=weight)
            run.step(losses)
        student.eval()
        return retriever

    def _losses(
        self,
        vectors_BV: Tensor,
        documents: SparseRows,
        candidates_BM: Tensor,
        teacher_BM: Tensor,
        targets: Sequence[SparseRows],
        rows: Sequence[int],
        run: Run,
    ) -> dict[str, Loss]:
        """The terms that have a weight; M = 1 + N candidates, the relevant document first."""
        flat = documents.rows(candidates_BM.flatten())
        scores_BM = flat.own_scores(vectors_BV, candidates_BM.shape[1])
        terms: dict[str, Tensor] = {}
        if self.weights.scores:
            terms["scores"] = score_distillation(scores_BM, teacher_BM, self.temperature)
        if self.weights.contrast:
            every = run.gather_constant(candidates_BM[:, 1:].to(vectors_BV.device)).cpu()
            terms["contrast"] = infonce(scores_BM[:, 0], documents.rows(every.flatten()).scores(vectors_BV))
        if self.weights.margins:
            terms["margins"] = margin_error(scores_BM, teacher_BM)
        if self.weights.vectors:
            terms["vectors"] = feature_distance(vectors_BV, mean_rows(targets, rows).to(vectors_BV.device))
        if self.weights.not_zero:
            terms["not_zero"] = not_all_zero(vectors_BV, run.gather)
        counted = (vectors_BV.detach() > 0).sum(1).to(vectors_BV.dtype)
        losses = {name: Loss(values, weight=getattr(self.weights, name)) for name, values in terms.items()}
        first = next(iter(losses))
        losses[first] = Loss(losses[first].values, weight=losses[first].weight, stats={"nonzeros": counted})
        return losses

    def _rewritten(
        self, retriever: SparseRetriever, data: Retrieval, queries: Sequence[int], run: Run
    ) -> list[SparseRows]:
        """The vectors of the queries' rewrites, by each teacher; none where a run stands in for them and nothing else reads them."""
        if self.teacher.run and not (self.teacher.rescale or self.weights.vectors):
            return []
        texts = rewrites(
            data,
            queries,
            self.teacher.rewriters,
            run,
            template=self.teacher.template,
            longest=self.teacher.max_new_tokens,
            key=self.key,
        )
        fixed = retriever.documents
        return [
            encoded(run, f"rewritten-{number}", lambda some: fixed.encode(some, self.query_tokens), each)
            for number, each in enumerate(texts.values())
        ]

    def check(self, data: Retrieval) -> None:
        """Refuse settings that contradict each other or the data."""
        self.demand(above_zero=["temperature"])
        for name in ("query_tokens", "document_tokens"):
            if getattr(self, name) < 3:
                raise CounterpointError(
                    f"{self.key}: {name}={getattr(self, name)}; expected at least 3, one beside the two markers"
                )
        for name in ("count", "depth", "keep"):
            value = getattr(self.negatives, name)
            if value < 1:
                raise CounterpointError(f"{self.key}: negatives.{name}={value}; expected at least 1")
        if self.negatives.depth <= self.negatives.skip:
            raise CounterpointError(
                f"{self.key}: negatives.depth={self.negatives.depth} documents are ranked, and the first negatives.skip={self.negatives.skip} are "
                "no negatives; rank more, such as 1000"
            )
        weights = self.weights
        if not weights.scores + weights.contrast + weights.margins + weights.vectors:
            raise CounterpointError(
                f"{self.key}: no term has a weight; give one of weights.scores, weights.contrast, weights.margins and weights.vectors, such "
                "as --weights.scores 1"
            )
        if len(data.documents) <= self.negatives.skip + 1:
            raise CounterpointError(
                f"{self.key}: {len(data.documents)} documents leave no negatives after the first negatives.skip={self.negatives.skip}; lower it, "
                "or give a larger corpus"
            )
