"""VC-STaR: rationales corrected by contrasting an image with a similar one, and learnt from (arXiv 2603.02556).

For a question with its image (v, q, a), find a counterpart with nearly the same question and a similar image. Where the model is wrong
alone and right beside the counterpart, with the answers as hints (median difficulty): think (r, with the answer as a hint), contrast
(c, both images), rethink (r corrected by c, written for one image), filter what gives the second image or the hint away, and learn

    L = -(1 / sum_i |t_i|) sum_i sum_k log p(t_ik | v_i, q_i, t_i<k),   the vision encoder frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from counterpoint.conversation import pictures_of, stored, turns
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData
from counterpoint.data.language.prompted import Each
from counterpoint.errors import CounterpointError, counted
from counterpoint.generation.authors import Author, Writer
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Source
from counterpoint.judges.choose import judge as choose_judge
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.optimization import Cosine
from counterpoint.models.language.adapters import Adapter, freeze
from counterpoint.models.language.language import Language, adapt
from counterpoint.pairs.counterparts.leaks import LEAKS, leak, patterns
from counterpoint.pairs.counterparts.matching import Counterparts, difficulty
from counterpoint.pairs.counterparts.prompts import filled
from counterpoint.phases.counterparts.alternatives import by_feedback, verified
from counterpoint.phases.counterparts.settings import Pairing, Wording
from counterpoint.phases.counterparts.stages import Asking, Attempts, alone, paired, rethought
from counterpoint.phases.self_training import learn_seed
from counterpoint.training import Run

LEVELS = ("easy", "median", "hard")
"""By the numbers that ``difficulty`` gives."""


@dataclass(kw_only=True)
class VCSTaR(Method[Language, ProblemData]):
    """Learn from rationales that contrast has corrected.

    Attributes:
        rounds: how often all of it is done, each time by the model of the round before.
        attempts: answers to a question, alone and beside the counterpart, of which the pass rate is taken.
        pass_rate: the share of them that must be right for the question to count as solved.
        keep: the levels of difficulty that are learnt from, "easy", "median", "hard", with commas between.
        rationale: what is learnt: "rethought" (the method), "uncontrasted" (rethought without the contrast: a control), "hinted" (the
            rationale with the answer as a hint: STaR's), "verified" (of ``attempts`` of these the first right one that the model approves
            of), "feedback" (it, revised by the model's own criticism), or "answer" (the answer alone).
        judge: who says that an answer is right.
        leaks: expressions, with semicolons between, that a rationale must not have.
        temperature, top_p, max_new_tokens: of sampling.
        frozen: parts of the model that stay as they are, by their names, with commas between; those that it lacks are passed over.
        learning_rate, epochs, batch_size: of the training.
        lora_rank: train adapters of this rank; 0 trains all weights but the frozen ones.
        pairing: which rows are counterparts. wording: how the model is asked.
        rethinker: who rethinks: the model itself, or another (the paper's is ten times larger).
        sampler: where the model's answers are sampled: the model itself, or a server.
    """

    key: ClassVar[str] = "vc-star"
    search: ClassVar[Search] = {"learning_rate": (1e-6, 1e-4), "epochs": [1.0, 3.0]}
    ablations: ClassVar[Ablations] = {
        "rethought without contrast": {"rationale": "uncontrasted"},
        "from a hint": {"rationale": "hinted"},
        "from a hint, verified": {"rationale": "verified"},
        "revised by feedback": {"rationale": "feedback"},
        "answers alone": {"rationale": "answer"},
        "every difficulty": {"keep": "easy,median,hard"},
    }

    rounds: int = 1
    attempts: int = 1
    pass_rate: float = 0.5
    keep: str = "median"
    rationale: Literal["rethought", "uncontrasted", "hinted", "verified", "feedback", "answer"] = "rethought"
    judge: str = "verifier"
    leaks: str = LEAKS
    temperature: float = 0.7
    top_p: float = 1.0
    max_new_tokens: int = 1024
    frozen: str = "vision_tower,visual,vision_model"
    learning_rate: float = 1e-5
    epochs: float = 3.0
    batch_size: int = 256
    lora_rank: int = 0
    adapter: Adapter = field(default_factory=Adapter)
    optimizer: Cosine = field(default_factory=Cosine)
    pairing: Pairing = field(default_factory=Pairing)
    wording: Wording = field(default_factory=Wording)
    rethinker: Writer = field(default_factory=Writer)
    sampler: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(above_zero=("rounds", "attempts", "batch_size", "max_new_tokens", "pass_rate"))
        if self.pass_rate > 1:
            raise CounterpointError(
                f"{self.key}: pass_rate={self.pass_rate}; expected a share of the attempts, above 0 and up to 1"
            )
        unseen = [name for name in self._levels() if name not in LEVELS]
        if unseen or not self._levels():
            raise CounterpointError(
                f"{self.key}: keep={self.keep!r}; expected some of {', '.join(LEVELS)}, with commas between"
            )
        patterns(self.leaks)
        self.wording.check(self.key)

    def fit(self, model: Language, data: ProblemData, run: Run) -> Language:
        """Pair the rows; then ``rounds`` times: answer, contrast, keep what contrast rescues, rethink, filter, and learn."""
        rows = data.train.rows
        self._check(model, rows)
        policy: Language = run.state(model=adapt(model, self.lora_rank, run.seed, self.adapter).eval())
        freeze(policy, self.frozen)
        pairs = paired(run, rows, self.pairing)
        with_other = (pairs.index >= 0).nonzero().squeeze(1).tolist()
        if not with_other:
            raise CounterpointError(
                f"{self.key}: none of {len(rows)} rows has a counterpart: another image within {self.pairing.image_limit} with a question "
                f"within {self.pairing.question_limit}; raise pairing.image_limit or pairing.question_limit, or give more rows"
            )
        how = Sampler(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        sampler = self.sampler.build(self.key, policy, how, folder=run.out)
        judge = choose_judge(self.judge, scorer=data.train.scorer, model=policy)
        author = self.rethinker.build(policy, run.out)
        for r in run.rounds(self.rounds):
            asking = Asking(run, sampler, judge, self.wording, r)
            first = asking.alone(rows, with_other, self.attempts)
            failed = [at for at in with_other if first.rate(at) < self.pass_rate]
            needed = failed if "easy" not in self._levels() else with_other
            contrasted = asking.contrasted(rows, needed, self.attempts, pairs)
            hinted = asking.hinted(rows, needed, self.attempts if self.rationale == "verified" else 1)
            levels = self._by_level(with_other, first, contrasted)
            chosen = [at for at in with_other if levels[at] in self._levels()]
            texts = self._texts(asking, author, rows, chosen, contrasted, hinted)
            learnable, leaking = self._filtered(asking, rows, [at for at in chosen if at in texts], texts)
            counts = {
                "rows": len(rows), "with_counterpart": len(with_other), "positive": int((pairs.positive == 1).sum()),
                **{name: sum(level == name for level in levels.values()) for name in LEVELS},
                "rescued_by_hint_alone": sum(hinted.rate(at) > 0 for at in failed),
                "chosen": len(chosen), "leaking": leaking, "learnt": len(learnable),
                "as_solution": _as_solution(rows, {at: texts[at] for at in learnable}),
            }  # fmt: skip
            run.log(round=r, **counts)
            run.report(rationales=[{"round": r, **counts}])
            self._record(run, rows, pairs, levels, (first, hinted, contrasted), texts, learnable)
            if not learnable and not r:
                raise CounterpointError(
                    f"{self.key}: of {len(with_other)} rows with a counterpart {len(chosen)} are {self.keep}, and none of their rationales "
                    f"is left ({leaking} give something away, the others {_lost(self.rationale)}); see counterpoint show-samples "
                    f"{run.out}, raise attempts, or change the wording"
                )
            examples = Each(learnable, partial(self._example, rows, texts))
            rule = self.optimizer.at(self.learning_rate)
            learn_seed(policy, examples, run, rule, self.batch_size, self.epochs)
        return policy

    def _example(self, rows: Sequence[Problem], texts: dict[int, str], at: int) -> Problem:
        row = rows[at]
        return replace(row, prompt=alone(row, self.wording), solution=texts[at], messages=())

    def _levels(self) -> list[str]:
        return [name.strip() for name in self.keep.split(",") if name.strip()]

    def _check(self, model: Language, rows: Sequence[Problem]) -> None:
        """Refuse rows that cannot be contrasted, before anything is sampled."""
        for at, row in enumerate(rows, 1):
            count = len(pictures_of(turns(row.prompt)))
            if count != 1:
                raise CounterpointError(
                    f"{self.key}: training row {at} has {counted(count, 'picture') if count else 'no picture'}; it contrasts questions about one image "
                    "each: give every row a column 'images' with one path"
                )
            if not row.answer:
                raise CounterpointError(
                    f"{self.key}: training row {at} ('{row.question[:60]}') has no answer; give the data an 'answer' column, or drop such rows"
                )
        if model.pictures is None:
            raise CounterpointError(
                f"{self.key}: the model reads no pictures; give the folder of a vision-language model with its processor"
            )

    def _by_level(self, numbers: Sequence[int], first: Attempts, contrasted: Attempts) -> dict[int, str]:
        """The level of each row by its pass rates."""
        passed = [
            torch.tensor([stage.rate(at) >= self.pass_rate for at in numbers])
            for stage in (first, contrasted)
        ]
        return {at: LEVELS[level] for at, level in zip(numbers, difficulty(*passed).tolist())}

    def _texts(
        self,
        asking: Asking,
        author: Author,
        rows: Sequence[Problem],
        chosen: Sequence[int],
        contrasted: Attempts,
        hinted: Attempts,
    ) -> dict[int, str]:
        """What is to be learnt of each chosen row, before the filter."""
        if self.rationale == "answer":
            return {at: filled(self.wording.bare, answer=rows[at].answer) for at in chosen}
        if self.rationale == "hinted":
            return {at: hinted.best(at) for at in chosen}
        if self.rationale == "verified":
            return verified(asking, rows, chosen, hinted)
        if self.rationale == "feedback":
            return by_feedback(asking, author, rows, chosen, hinted)
        contrast = self.rationale == "rethought"
        questions = [
            (rows[at].question, hinted.best(at), contrasted.best(at) if contrast else "") for at in chosen
        ]
        return dict(zip(chosen, rethought(asking, author, questions)))

    def _filtered(
        self, asking: Asking, rows: Sequence[Problem], chosen: Sequence[int], texts: dict[int, str]
    ) -> tuple[list[int], int]:
        """The rows whose text gives nothing away and ends in the right answer, and how many gave something away."""
        expressions = patterns(self.leaks)
        silent = [at for at in chosen if not leak(texts[at], expressions)]
        right = asking.right("filter", Each(silent, rows.__getitem__), [texts[at] for at in silent])
        return [at for at, ok in zip(silent, right) if ok], len(chosen) - len(silent)

    def _record(
        self,
        run: Run,
        rows: Sequence[Problem],
        pairs: Counterparts,
        levels: dict[int, str],
        stages: tuple[Attempts, Attempts, Attempts],
        texts: dict[int, str],
        learnable: Sequence[int],
    ) -> None:
        """Every stage's texts of every row with a counterpart, for ``show-samples``."""
        names, learnt = ("alone", "hinted", "contrasted"), set(learnable)
        result = []
        for at, level in levels.items() if run.rank == 0 else ():
            answers: list[Any] = [
                {"text": text, "rewards": {"right": float(ok)}, "stage": name, "level": level}
                for name, stage in zip(names, stages)
                for text, ok in zip(stage.texts.get(at, ()), stage.right.get(at, ()))
            ]
            if at in texts:
                stage = "learnt" if at in learnt else "filtered out"
                answers.append(
                    {
                        "text": texts[at],
                        "rewards": {"right": float(at in learnt)},
                        "stage": stage,
                        "level": level,
                    }
                )
            other = rows[int(pairs.index[at])]
            for each in answers:
                if each["stage"] == "contrasted":
                    each["counterpart"] = f"{other.question} {other.answer}"
            result.append({"prompt": stored(rows[at].prompt), "answers": answers})
        run.record_samples(result)


def _lost(rationale: str) -> str:
    """Why rationales are lost that give nothing away."""
    return "are not approved of" if rationale == "verified" else "end in another answer"


def _as_solution(rows: Sequence[Problem], texts: dict[int, str]) -> float:
    """The share of texts that are the data's own solutions; NaN where it has none."""
    compared = [text.strip() == rows[at].solution.strip() for at, text in texts.items() if rows[at].solution]
    return sum(compared) / len(compared) if compared else float("nan")
