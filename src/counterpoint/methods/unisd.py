"""UniSD: self-distillation with agreeing teachers, a moving average, a wrong example and feature matching.

The student answers a prompt; the same model, shown the reference solution, says at every token what it would have said:
L = E sum_t m_t w_t D_t(teacher || student) + extra terms (arXiv 2605.06597, eq. 1). Five mechanisms make the teacher's
voice safer: agreement weights (eq. 2), an EMA teacher (3), token contrast (4-5), feature matching (6), clipping (9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from counterpoint.data.language.problems import Problem, ProblemData, Problems
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.kernels.divergence_rows import FORWARD, REVERSE, Kind, jsd
from counterpoint.methods.base import Method
from counterpoint.models.language.language import Language, adapt
from counterpoint.models.text import embedding
from counterpoint.models.tokens import Tokens, join
from counterpoint.objectives.distillation.self_distillation import Mechanisms, self_distillation
from counterpoint.pairs import demonstrations as shown
from counterpoint.pairs.contexts import Examples, Instructions, Misleading
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.training import Optimizer, Run

Mode = Literal[
    "agreement_seq_random", "agreement_seq_retrieval", "agreement_seq_induction", "agreement_tok_random",
    "agreement_tok_retrieval", "agreement_tok_induction", "ema", "contrastive", "match_joint", "match_repr", "clip",
    "unisd_star", "plain",
]  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "plain": {},
    "agreement": {"gamma": 0.01},
    "ema": {"ema_decay": 0.9},
    "contrastive": {"contrast_weight": 0.1, "contrast_margin": 0.5},
    "match_joint": {"match_weight": 0.1},
    "match_repr": {},
    "clip": {"clip": 10.0},
    "unisd_star": {"gamma": 0.001, "ema_decay": 0.98, "contrast_weight": 0.01, "contrast_margin": 0.1}
    | {"match_weight": 0.01},
}
"""What each mode switches on, with the paper's values; a setting that is given replaces them."""


@dataclass(kw_only=True)
class UniSD(Method[Language, ProblemData]):
    """Unified self-distillation.

    Attributes:
        mode: which mechanisms act; "unisd_star" joins token agreement over retrieved contexts, the EMA teacher, contrast
            and matching; "plain" is on-policy distillation alone.
        alpha: 0 forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence.
        temperature: of sampling and of the divergence.
        max_new_tokens: longest sampled completion.
        gamma, contrast_weight, contrast_margin, match_weight, clip, ema_decay: None takes the mode's own value.
        clip_quantile: clip at this quantile of the batch instead of at a number.
        num_contexts: auxiliary contexts K of the agreement weights.
        normalise: "per_sequence" as in the authors' code, where sequence weights cancel; "batch" lets them act.
        sync_steps: optimiser steps between updates of the EMA teacher.
        negatives: where wrong demonstrations come from: "written" by the model on request, "sampled" from its own wrong
            replies, "other" problems' solutions. num_negatives are made per problem, and one is drawn per step.
        retriever: sentence embeddings for the nearest problems, "minilm" or "tfidf".
        lora_rank: rank of the adapters that are trained (their alpha is twice that); 0 trains every weight.
        template, example: wording of the teacher's prompt and of another problem as an example.
    """

    key: ClassVar[str] = "unisd"
    search: ClassVar[dict[str, Any]] = {"learning_rate": (1e-5, 1e-3), "gamma": (1e-3, 1.0)}

    mode: Mode = "unisd_star"
    alpha: float = 0.0
    temperature: float = 0.7
    max_new_tokens: int = 1024
    gamma: float | None = None
    num_contexts: int = 3
    normalise: Literal["per_sequence", "batch"] = "per_sequence"
    ema_decay: float | None = None
    sync_steps: int = 10
    contrast_weight: float | None = None
    contrast_margin: float | None = None
    negatives: Literal["written", "sampled", "other"] = "written"
    num_negatives: int = 4
    match_weight: float | None = None
    clip: float | None = None
    clip_quantile: float | None = None
    retriever: Literal["minilm", "tfidf"] = "minilm"
    template: str = shown.SHOWN
    example: str = shown.EXAMPLE
    lora_rank: int = 64
    learning_rate: float = 2e-5
    batch_size: int = 16
    epochs: float = 1.0

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Distil the model, shown the references, into the model that is not."""
        problems, on = data.train, self._mechanisms()
        shown.require_references(problems.rows, self.key)
        shown.check_template(self.template, "prompt", "demonstration")
        shown.check_template(self.example, "demonstration")
        decay, model = self._own("ema_decay"), adapt(model, self.lora_rank, run.seed)
        frozen = run.place(Frozen(model))
        sampler = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature)
        model = run.state(model=model)
        ema = None if decay is None else run.state(teacher=Ema(model, decay, every=self.sync_steps))
        teacher = Answering(ema or frozen, at_once=run.micro_batch_size)
        run.optimize(
            model,
            Optimizer(learning_rate=self.learning_rate, schedule="cosine", warmup=0.1, max_grad_norm=1.0),
        )
        contexts = self._contexts(frozen.model, problems, run)
        wrong = None
        if on.contrast_weight:
            wrong = Misleading(problems.rows, self._negatives(frozen.model, problems, run), self.template)
        right = Hinted(
            teacher, lambda problem: shown.with_demonstration(problem, problem.reference, self.template)
        )
        for batch in run.batches(problems, self.batch_size, epochs=self.epochs):
            prompts = model.prompts([problem.prompt for problem in batch.items])
            completions = sampler(model, prompts, batch.random.uniform(self.max_new_tokens))
            both = join(prompts, completions)
            hidden = run.forward(model, both.ids, both.mask, last=completions.width)
            answer = right.answer(batch.items, completions)
            negative = None
            if wrong is not None:
                negative = teacher.answer(
                    wrong(batch.items, batch.index, batch.random.uniform(1)), completions
                )
            context_logp = None
            if on.agreement != "none":
                prompted = contexts(batch.items, batch.index, batch.random.uniform(self.num_contexts))
                context_logp = _log_probs_after(prompted, teacher, completions)
            terms = self_distillation(
                model.scores(hidden),
                answer,
                completions.ids,
                completions.mask,
                on,
                context_logp_KBT=context_logp,
                negative=negative,
                student_hidden_BTd=hidden,
                teacher_hidden_BTd=answer.hidden,
            )
            run.step(terms, tokens=int(completions.mask.sum()))
            if ema is not None:
                ema.follow(model)
        return model

    def _own(self, setting: str) -> Any:
        """A setting's value: the one that was given, else the mode's."""
        mode = "agreement" if self.mode.startswith("agreement") else self.mode
        given = getattr(self, setting)
        return OWN[mode].get(setting) if given is None else given

    def _mechanisms(self) -> Mechanisms:
        kind: Kind = FORWARD if self.alpha == 0 else REVERSE if self.alpha == 1 else jsd(self.alpha)
        agreement: Literal["none", "token", "sequence"] = "none"
        if "agreement" in self.mode or self.mode == "unisd_star":
            agreement = "sequence" if "_seq_" in self.mode else "token"
        return Mechanisms(
            kind=kind,
            temperature=self.temperature,
            cap=self._own("clip"),
            cap_quantile=self.clip_quantile,
            agreement=agreement,
            gamma=self._own("gamma") or 0.0,
            normalise=self.normalise,
            contrast_weight=self._own("contrast_weight") or 0.0,
            contrast_margin=self._own("contrast_margin") or 0.0,
            match_weight=self._own("match_weight") or 0.0,
            match_only=self.mode == "match_repr",
        )

    def _contexts(self, model: Language, problems: Problems, run: Run) -> Examples | Instructions:
        """The auxiliary contexts of the mode; those that cost something are made once, before training."""
        kind = self.mode.rsplit("_", 1)[-1]
        if kind == "induction":
            return Instructions(
                run.stage("instructions", lambda: self._induced(model, problems.rows, run.seed))
            )
        near = None
        if kind in ("retrieval", "star"):
            near = run.stage(
                "neighbours", lambda: shown.nearest(self._embedded(problems.rows), self.num_contexts)
            )
        return Examples(problems.rows, near, self.template, self.example)

    def _embedded(self, rows: list[Problem]) -> Any:
        texts = [row.question for row in rows]
        return shown.tfidf(texts) if self.retriever == "tfidf" else embedding.sentences(texts)

    def _induced(self, model: Language, rows: list[Problem], seed: int) -> list[str]:
        """K instructions that the model writes after looking at five solved problems each."""
        draws = row_draws(seed, range(self.num_contexts), len(rows))
        asks = []
        for order in draws.argsort(1)[:, :5].tolist():
            pairs = "\n\n".join(shown.as_example(rows[place], self.example) for place in order)
            asks.append(f"{pairs}\n\nWrite one instruction that would lead somebody to such replies.")
        sampler = Sampler(max_new_tokens=min(256, self.max_new_tokens), temperature=0.7)
        numbers = row_draws(seed + 1, range(self.num_contexts), sampler.max_new_tokens)
        return model.texts(sampler(model, model.prompts(asks), numbers))

    def _negatives(self, model: Language, problems: Problems, run: Run) -> list[list[str]]:
        """Wrong demonstrations of every problem, made before training and kept; an empty list where none came."""
        if self.negatives == "other":
            return [[] for _ in problems.rows]
        ask = "{prompt}" if self.negatives == "sampled" else (
            "{prompt}\n\nWrite a reply that sounds sure but makes a mistake on the way and ends in a wrong answer."
        )  # fmt: skip
        sampler = Sampler(max_new_tokens=self.max_new_tokens, temperature=0.7)

        def make(places: list[int]) -> list[list[str]]:
            rows = [problems[place] for place in places for _ in range(self.num_negatives)]
            numbers = [
                place * self.num_negatives + copy for place in places for copy in range(self.num_negatives)
            ]
            asked = model.prompts([shown.with_demonstration(row, "", ask) for row in rows])
            draws = row_draws(run.seed, numbers, self.max_new_tokens)
            replies = model.texts(sampler(model, asked, draws))
            kept = [reply if problems.score(reply, row) < 1 else "" for reply, row in zip(replies, rows)]
            each = self.num_negatives
            return [[text for text in kept[at : at + each] if text] for at in range(0, len(kept), each)]

        return run.stage("negatives", make, over=list(range(len(problems))), size=16)


def _log_probs_after(contexts: list[Any], teacher: Answering, completions: Tokens) -> Tensor:
    """Log-probabilities [K, B, T] at temperature 1 of the completions' tokens, after each context; one pass for all."""
    many = len(contexts)
    repeated = Tokens(completions.ids.repeat(many, 1), completions.mask.repeat(many, 1))
    return teacher.log_probs([prompt for each in contexts for prompt in each], repeated).unflatten(
        0, (many, -1)
    )
