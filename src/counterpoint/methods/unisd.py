"""UniSD: self-distillation with agreeing teachers, a moving average, a wrong example and feature matching.

The student answers a prompt; the same model, shown the reference solution, says at every token what it would have said:
L = E sum_t m_t w_t D_t(teacher || student) + extra terms (arXiv 2605.06597, eq. 1). Five mechanisms make the teacher's
voice safer: agreement weights (eq. 2), an EMA teacher (3), token contrast (4-5), feature matching (6), clipping (9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from counterpoint.data.language.problems import Problem, ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, PolicySource, Samples
from counterpoint.judges.verifier import Verifier
from counterpoint.kernels.divergence_rows import FORWARD, REVERSE, Kind, jsd
from counterpoint.kernels.scores import Head, Sparse
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.groups import value_of
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.text import embedding
from counterpoint.models.tokens import Tokens, join
from counterpoint.objectives.distillation.self_distillation import Mechanisms, self_distillation
from counterpoint.pairs import demonstrations as shown
from counterpoint.pairs.contexts import Examples, Instructions, Misleading
from counterpoint.phases.distillation.engine_weighing import engine_weighing
from counterpoint.phases.rollouts import record_completions
from counterpoint.teachers.answering import Answering, Teacher
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import rows_of, stored_teacher
from counterpoint.teachers.stored import Stored
from counterpoint.training import Run

Mode = Literal[
    "agreement_seq_random", "agreement_seq_retrieval", "agreement_seq_induction", "agreement_tok_random",
    "agreement_tok_retrieval", "agreement_tok_induction", "ema", "contrastive", "match_joint", "match_repr", "clip",
    "unisd_star", "plain",
]  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "plain": {},
    "agreement": {"agreement.gamma": 0.01},
    "ema": {"ema.decay": 0.9},
    "contrastive": {"contrast.weight": 0.1, "contrast.margin": 0.5},
    "match_joint": {"match_weight": 0.1},
    "match_repr": {},
    "clip": {"clip.value": 10.0},
    "unisd_star": {
        "agreement.gamma": 0.001,
        "ema.decay": 0.98,
        "contrast.weight": 0.01,
        "contrast.margin": 0.1,
    }
    | {"match_weight": 0.01},
}
"""What each mode switches on, with the paper's values; a setting that is given replaces them."""


@dataclass
class Agreement:
    """Tokens, or replies, on which teachers with different contexts disagree count less (eq. 2).

    Attributes:
        gamma: how sharply the weight falls with disagreement; None takes the mode's value.
        num_contexts: auxiliary contexts K.
        normalise: "per_sequence" as in the authors' code, where sequence weights cancel; "batch" lets them act.
        retriever: sentence embeddings for the nearest problems, "minilm" or "tfidf".
        example: wording of another problem as an example.
    """

    gamma: float | None = None
    num_contexts: int = 3
    normalise: Literal["per_sequence", "batch"] = "per_sequence"
    retriever: Literal["minilm", "tfidf"] = "minilm"
    example: str = shown.EXAMPLE


@dataclass
class Average:
    """The teacher is the moving average of the student (eq. 3).

    Attributes:
        decay: how much of the average remains at an update; None takes the mode's value.
        sync_steps: optimiser steps between updates.
    """

    decay: float | None = None
    sync_steps: int = 10


@dataclass
class TokenContrast:
    """Away from what the teacher makes of a wrong demonstration (eq. 4 and 5).

    Attributes:
        weight, margin: None takes the mode's value.
        negatives: where wrong demonstrations come from: "written" by the model on request, "sampled" from its own wrong
            replies, "other" problems' solutions. num_negatives are made per problem, and one is drawn per step.
    """

    weight: float | None = None
    margin: float | None = None
    negatives: Literal["written", "sampled", "other"] = "written"
    num_negatives: int = 4


@dataclass
class Clip:
    """No token's divergence counts for more than this (eq. 9).

    Attributes:
        value: a number; None takes the mode's. quantile: clip at this quantile of the batch instead.
    """

    value: float | None = None
    quantile: float | None = None


@dataclass(kw_only=True)
class UniSD(Method[Language, ProblemData]):
    """Unified self-distillation.

    Attributes:
        mode: which mechanisms act; "unisd_star" joins token agreement over retrieved contexts, the EMA teacher, contrast
            and matching; "plain" is on-policy distillation alone.
        alpha: 0 forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence.
        temperature: of sampling and of the divergence.
        max_new_tokens: longest sampled completion.
        match_weight: of feature matching (eq. 6); None takes the mode's own value.
        store: read the teacher's answers from this folder, as ``sdft`` does; needs mode=plain and alpha=0.
        template: wording of the teacher's prompt.
        lora_rank: rank of the adapters that are trained; 0 trains every weight.
        adapter: of those adapters. optimizer: how the weights move.
        sampler: who writes wrong demonstrations and instructions before the training, the model itself or a server; the
            completions that it learns from are always the student's own, or a vLLM server's that follows it (kind vllm).
    """

    key: ClassVar[str] = "unisd"
    shards: ClassVar[bool] = True
    copies: ClassVar[int] = 2
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "agreement.gamma": (1e-3, 1.0)}
    ablations: ClassVar[Ablations] = {
        "without agreement": {"agreement.gamma": 0.0},
        "teacher as it is now": {"ema.decay": 0.0},
        "without contrast": {"contrast.weight": 0.0},
        "without matching": {"match_weight": 0.0},
        "plain on-policy distillation": {"mode": "plain"},
    }
    writes: ClassVar[tuple[str, ...]] = ("store",)
    moved: ClassVar[dict[str, str]] = {
        "sync_steps": "ema.sync_steps",
        **{
            name: f"agreement.{name}"
            for name in ("gamma", "num_contexts", "normalise", "retriever", "example")
        },
        **{name: f"contrast.{name}" for name in ("negatives", "num_negatives")},
    }

    mode: Mode = "unisd_star"
    alpha: float = 0.0
    temperature: float = 0.7
    max_new_tokens: int = 1024
    agreement: Agreement = field(default_factory=Agreement)
    ema: Average = field(default_factory=Average)
    contrast: TokenContrast = field(default_factory=TokenContrast)
    match_weight: float | None = None
    clip: Clip = field(default_factory=Clip)
    store: str = ""
    template: str = shown.SHOWN
    lora_rank: int = 64
    adapter: Adapter = field(default_factory=Adapter)
    learning_rate: float = 2e-5
    optimizer: Cosine = field(default_factory=Cosine)
    batch_size: int = 16
    epochs: float = 1.0
    sampler: PolicySource = field(default_factory=PolicySource)

    def check(self, data: ProblemData) -> None:
        """Refuse agreement of fewer than two contexts, and contrast with no wrong demonstration."""
        on = self._mechanisms()
        if on.agreement != "none" and self.agreement.num_contexts < 2:
            raise CounterpointError(
                f"{self.key}: agreement.num_contexts={self.agreement.num_contexts}, and agreement compares contexts; set at least 2, or a "
                "mode without agreement"
            )
        if on.contrast_weight and self.contrast.negatives != "other":
            self.demand(above_zero=["contrast.num_negatives"])

    def staged(self) -> float:
        """The wrong demonstrations of a shard's problems, where they are sampled."""
        return 16.0 * self.contrast.num_negatives if self._prepares(self._mechanisms()) else 0.0

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Distil the model, shown the references, into the model that is not."""
        self.check(data)
        problems, on = data.train, self._mechanisms()
        shown.require_references(problems.rows, self.key)
        shown.check_template(self.template, "prompt", "demonstration")
        shown.check_template(self.agreement.example, "demonstration")
        stored = self._stored(model, problems, run) if self.store else None
        decay, model = self._own("ema.decay"), adapt(model, self.lora_rank, run.seed, self.adapter)
        frozen = run.constant(Frozen(model))
        model = run.state(model=model)
        sampler = self._sampler(model, on, run)
        ema = None if decay is None else run.state(teacher=Ema(model, decay, every=self.ema.sync_steps))
        teacher = Answering(ema or frozen, at_once=run.micro_batch_size)
        run.optimize(model, self.optimizer.at(self.learning_rate))
        contexts = self._contexts(frozen.model, problems, run)
        wrong = None
        if on.contrast_weight:
            wrong = Misleading(problems.rows, self._negatives(frozen.model, problems, run), self.template)
        right: Teacher[Head | Sparse] = stored or self._shown(teacher)
        for batch in run.batches(problems, self.batch_size, epochs=self.epochs):
            if stored is None:
                questions = [problem.prompt for problem in batch.items]
                completions: Tokens = sampler(questions, 1, batch.random.uniform(self.max_new_tokens))
                prompts = model.prompts(questions)
            else:
                prompts, completions = rows_of(stored, model, batch.items, batch.index)
            record_completions(run, batch.items, model.texts(completions))
            both = join(prompts, completions)
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            answer = right.answer(batch.items, completions, batch.index)
            negative = None
            if wrong is not None:
                negative = teacher.answer(
                    wrong(batch.items, batch.index, batch.random.uniform(1)), completions
                )
            context_logp = None
            if on.agreement != "none":
                prompted = contexts(
                    batch.items, batch.index, batch.random.uniform(self.agreement.num_contexts)
                )
                context_logp = _log_probs_after(prompted, teacher, completions)
            scores = model.scores(hidden)
            weight, figures = engine_weighing(
                self.sampler.largest_weight, scores, completions, self.temperature
            )
            terms = self_distillation(
                scores,
                answer,
                completions.ids,
                completions.authored,
                on,
                context_logp_KBT=context_logp,
                negative=negative,
                student_hidden_BTd=hidden,
                teacher_hidden_BTd=None if isinstance(answer, Sparse) else answer.hidden,
                weight_BT=weight,
                gather=run.gather_constant,
            )
            next(iter(terms.values())).stats.update(figures)
            run.step(terms, tokens=int(completions.mask.sum()))
            if ema is not None:
                ema.follow(model)
        return model

    def _sampler(self, model: Language, on: Mechanisms, run: Run) -> Samples:
        """What samples the student at every step; another server than one that follows it writes for the preparation alone."""
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        if self.sampler.kind == "server" and self._prepares(on):
            return Own(model, self.sampler.ended_by(how))
        why = f"mode={self.mode} samples nothing but what the student itself would say at this step"
        return self.sampler.build(self.key, model, how, on_policy=why, folder=run.out)

    def _shown(self, answering: Answering) -> Teacher[Head]:
        """The teacher that is shown each problem's reference."""
        return Hinted(
            answering, lambda problem: shown.with_demonstration(problem, problem.reference, self.template)
        )

    def _stored(self, model: Language, problems: Problems, run: Run) -> Stored:
        if self.mode != "plain" or self.alpha:
            raise CounterpointError(
                f"{self.key}: a stored teacher gives a sample of its distribution, which the forward KL is unbiased with; other mechanisms "
                f"need a live one; got mode={self.mode} and alpha={self.alpha}; set --mode plain --alpha 0, or leave store empty"
            )

        def live() -> tuple[Teacher[Head], Language]:
            frozen = run.constant(Frozen(model))
            return self._shown(Answering(frozen, at_once=run.micro_batch_size)), frozen.model

        return stored_teacher(
            run.stage,
            self.store,
            live,
            model,
            problems.rows,
            method=self.key,
            temperature=self.temperature,
            sampler=self.sampler.ended_by(
                Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
            ),
        )

    def _own(self, setting: str) -> Any:
        """A setting's value: the one that was given, else the mode's."""
        mode = "agreement" if self.mode.startswith("agreement") else self.mode
        given = value_of(self, setting)
        return OWN[mode].get(setting) if given is None else given

    def _mechanisms(self) -> Mechanisms:
        kind: Kind = FORWARD if self.alpha == 0 else REVERSE if self.alpha == 1 else jsd(self.alpha)
        agreement: Literal["none", "token", "sequence"] = "none"
        if "agreement" in self.mode or self.mode == "unisd_star":
            agreement = "sequence" if "_seq_" in self.mode else "token"
        return Mechanisms(
            kind=kind,
            temperature=self.temperature,
            cap=self._own("clip.value"),
            cap_quantile=self.clip.quantile,
            agreement=agreement,
            gamma=self._own("agreement.gamma") or 0.0,
            normalise=self.agreement.normalise,
            contrast_weight=self._own("contrast.weight") or 0.0,
            contrast_margin=self._own("contrast.margin") or 0.0,
            match_weight=self._own("match_weight") or 0.0,
            match_only=self.mode == "match_repr",
        )

    def _prepares(self, on: Mechanisms) -> bool:
        """Whether anything is sampled before the training."""
        wrong = bool(on.contrast_weight) and self.contrast.negatives != "other"
        return wrong or self.mode.endswith("_induction")

    def _contexts(self, model: Language, problems: Problems, run: Run) -> Examples | Instructions:
        """The auxiliary contexts of the mode; those that cost something are made once, before training."""
        ending = self.mode.rsplit("_", 1)[-1]
        if ending == "induction":
            writer = self._writer(model, min(256, self.max_new_tokens), run)
            return Instructions(run.stage("instructions", lambda: self._induced(writer, problems.rows, run)))
        near = None
        if ending in ("retrieval", "star"):
            near = run.stage(
                "neighbours",
                lambda: shown.nearest(self._embedded(problems.rows), self.agreement.num_contexts),
            )
        return Examples(problems.rows, near, self.template, self.agreement.example)

    def _embedded(self, rows: Sequence[Problem]) -> Any:
        texts = [row.question for row in rows]
        return shown.tfidf(texts) if self.agreement.retriever == "tfidf" else embedding.sentences(texts)

    def _induced(self, writer: Samples, rows: Sequence[Problem], run: Run) -> list[str]:
        """K instructions that the model writes after looking at five solved problems each."""
        many = self.agreement.num_contexts
        draws = row_draws(run.seed, range(many), len(rows))
        prompts = []
        for order in draws.argsort(1)[:, :5].tolist():
            pairs = "\n\n".join(shown.as_example(rows[row], self.agreement.example) for row in order)
            prompts.append(f"{pairs}\n\nWrite one instruction that would lead somebody to such replies.")
        draws = row_draws(run.seed + 1, range(many), writer.how.max_new_tokens)
        return writer.model.texts(writer(prompts, 1, draws))

    def _negatives(self, model: Language, problems: Problems, run: Run) -> list[list[str]]:
        """Wrong demonstrations of every problem, made before training and stored; an empty list where none came."""
        if self.contrast.negatives == "other":
            return [[] for _ in problems.rows]
        wording = "{prompt}" if self.contrast.negatives == "sampled" else (
            "{prompt}\n\nWrite a reply that sounds sure but makes a mistake on the way and ends in a wrong answer."
        )  # fmt: skip
        sampler, verifier = self._writer(model, self.max_new_tokens, run), Verifier(problems.scorer)
        each = self.contrast.num_negatives

        def make(index: list[int]) -> list[list[str]]:
            rows = [problems[row] for row in index]
            prompts = [shown.with_demonstration(row, "", wording) for row in rows]
            numbers = [row * each + copy for row in index for copy in range(each)]
            texts = model.texts(sampler(prompts, each, row_draws(run.seed, numbers, self.max_new_tokens)))
            parts = [texts[at : at + each] for at in range(0, len(texts), each)]
            return [[x for x in part if x and verifier.score(x, row) < 1] for part, row in zip(parts, rows)]

        return run.stage("negatives", make, over=list(range(len(problems))), size=16)

    def _writer(self, model: Language, longest: int, run: Run) -> Samples:
        """What writes demonstrations and instructions in a stage, made ready for it."""
        how = Sampler(max_new_tokens=longest, temperature=0.7)
        writer = self.sampler.build(self.key, model, how, folder=run.out)
        writer.follow()
        return writer


def _log_probs_after(contexts: list[Any], teacher: Answering, completions: Tokens) -> Tensor:
    """Log-probabilities [K, B, T] at temperature 1 of the completions' tokens, after each context; one pass for all."""
    many = len(contexts)
    repeated = Tokens(completions.ids.repeat(many, 1), completions.mask.repeat(many, 1))
    return teacher.log_probs([prompt for each in contexts for prompt in each], repeated).unflatten(
        0, (many, -1)
    )
