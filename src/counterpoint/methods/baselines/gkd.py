"""GKD: on-policy distillation with the generalised Jensen-Shannon divergence (arXiv 2306.13649, eq. 1 and algorithm 1).

JSD_beta = beta KL(T || M) + (1 - beta) KL(S || M), M = (1 - beta) S + beta T; a share of the batches is the student's own
samples, the others are the references.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import PolicySource
from counterpoint.kernels.divergence_rows import FORWARD, REVERSE, jsd
from counterpoint.kernels.scores import Head, Sparse
from counterpoint.kernels.vocabulary import divergence
from counterpoint.methods.base import Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt, load, same_vocabulary
from counterpoint.models.tokens import Tokens, join
from counterpoint.objectives.tokens import aggregate
from counterpoint.pairs import demonstrations as shown
from counterpoint.phases.distillation.engine_weighing import engine_weighing, scaled
from counterpoint.phases.rollouts import record_completions
from counterpoint.teachers.answering import Answering, Teacher
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import rows_of, stored_teacher
from counterpoint.teachers.stored import Stored
from counterpoint.training import Run


@dataclass(kw_only=True)
class GKD(Method[Language, ProblemData]):
    """Generalised knowledge distillation.

    Attributes:
        teacher: a larger model's folder or bundled name, with the student's vocabulary; empty means the student itself as
            it was given, shown the reference solution.
        beta: 0 forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence.
        on_policy: share of batches that the student samples itself; the others are the references.
        temperature: of sampling; the divergence is at loss_temperature.
        squared_temperature: multiply the loss by loss_temperature squared, as classic distillation does (1503.02531), so
            that the size of its gradient depends little on it.
        max_new_tokens: longest sampled completion.
        store: read the teacher's answers from this folder, where they are written once, sparse and unbiased; needs on_policy 0 and
            beta 0.
        template: wording of the prompt of a teacher that is shown the reference.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        sampler: where that share is sampled: the student itself, a vLLM server that follows it, or another server, which then gives its own
            model's completions.
    """

    key: ClassVar[str] = "gkd"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "beta": [0.1, 0.5, 0.9]}
    writes: ClassVar[tuple[str, ...]] = ("store",)

    teacher: str = ""
    beta: float = 0.5
    on_policy: float = 0.5
    temperature: float = 0.9
    loss_temperature: float = 1.0
    squared_temperature: bool = False
    max_new_tokens: int = 1024
    store: str = ""
    template: str = shown.SHOWN
    lora_rank: int = 64
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Distil the teacher into the model."""
        if self.on_policy < 1 or not self.teacher:
            shown.require_references(data.train.rows, self.key)
        kind = FORWARD if self.beta == 0 else REVERSE if self.beta == 1 else jsd(self.beta)
        weight = self.loss_temperature**2 if self.squared_temperature else 1.0
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        stored = self._stored(model, data.train, run) if self.store else None
        model = adapt(model, self.lora_rank, run.seed, self.adapter)
        teacher: Teacher[Head | Sparse] = stored or self._teacher(model, run)
        model = run.state(model=model)
        sampler = self.sampler.build(self.key, model, how, folder=run.out)
        run.optimize(model, self.optimizer.at(self.learning_rate))
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs):
            questions = [problem.prompt for problem in batch.items]
            sampled = float(torch.rand((), generator=run.rng)) < self.on_policy
            if sampled:
                completions: Tokens = sampler(questions, 1, batch.random.uniform(self.max_new_tokens))
                prompts = model.prompts(questions)
            elif stored is not None:
                prompts, completions = rows_of(stored, model, batch.items, batch.index)
            else:
                prompts, completions = model.rows(questions, [problem.completion for problem in batch.items])
            if sampled:
                record_completions(run, batch.items, model.texts(completions))
            both, mask = join(prompts, completions), completions.authored
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            answer = teacher.answer(batch.items, completions, batch.index)
            scores = model.scores(hidden)
            per_token = divergence(scores, answer, kind, temperature=self.loss_temperature, mask=mask)
            factors, figures = engine_weighing(
                self.sampler.largest_weight, scores, completions, self.temperature
            )
            loss = aggregate(scaled(per_token, factors), mask, "token_mean")
            run.step(replace(loss, weight=weight, stats=figures), tokens=int(mask.sum()))
        return model

    def _teacher(self, model: Language, run: Run) -> Teacher[Head]:
        if not self.teacher:
            shown.check_template(self.template, "prompt", "demonstration")
            itself = Answering(run.constant(Frozen(model)), at_once=run.micro_batch_size)
            return Hinted(itself, lambda row: shown.with_demonstration(row, row.reference, self.template))
        other = load(self.teacher)
        same_vocabulary(model, other)
        placed = Answering(run.constant(Frozen(other.requires_grad_(False))), at_once=run.micro_batch_size)
        return Hinted(placed, lambda row: row.prompt)

    def _stored(self, model: Language, problems: Problems, run: Run) -> Stored:
        if self.on_policy > 0 or self.beta != 0:
            raise CounterpointError(
                f"a stored teacher knows the completions it was stored with only, by forward KL; got on_policy={self.on_policy} and "
                f"beta={self.beta}; set both to 0, or leave store empty"
            )
        return stored_teacher(
            run.stage,
            self.store,
            lambda: (self._teacher(model, run), model),
            model,
            problems.rows,
            method=self.key,
            temperature=self.loss_temperature,
        )
