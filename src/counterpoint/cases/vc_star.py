"""The case of vc-star: does looking at a similar picture correct rationales, and does that carry over to questions about one picture?

A tiny reader of noisy digits, taught single questions and pairs alike, writes a digit and then an answer. All arms learn from the same
questions, those that it fails alone and solves beside a counterpart; what differs is the rationale.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

PAIR = "{image}{question}={answer}:{other_image}{other_question}={other_answer}:"
SHARED: dict[str, Any] = {
    "max_new_tokens": 6,
    "batch_size": 32,
    "pairing.image_encoder": "pixels",
    "pairing.image_limit": 0.6,
    "wording.hint": "{question}={answer}:",
    "wording.alike": PAIR,
    "wording.unlike": PAIR,
    "wording.rethink": "{rationale}/{contrast}",
    "wording.bare": "{answer}",
    "rethinker.author": "counterpoint.tasks.stock.reader:rethink",
}
RATES = {"learning_rate": [3e-4, 1e-3]}
READ = 300
"""Test questions on which reading beside a second picture is measured."""


def learning(rationale: str) -> Arm:
    """The same questions with this rationale, the learning rate tuned."""
    return Arm(method="vc-star", settings={**SHARED, "rationale": rationale}, tune=RATES)


def pairs(rows: list[Any]) -> dict[str, float]:
    """What pairing is worth: the share of training questions with a counterpart, and how many of these show the same digit."""
    from counterpoint.data.language.digit_questions import WORDINGS
    from counterpoint.phases.counterparts.settings import Pairing, neighbours

    index = neighbours(rows, Pairing(image_encoder="pixels", image_limit=SHARED["pairing.image_limit"])).index
    both = [(rows[at], rows[other]) for at, other in enumerate(index.tolist()) if other >= 0]
    about = {text: name for name, texts in WORDINGS.items() for text in texts}
    return {
        "paired": len(both) / len(rows),
        "paired_same_question": sum(about[a.question] == about[b.question] for a, b in both) / len(both),
        "paired_same_digit": sum(a.solution[0] == b.solution[0] for a, b in both) / len(both),
    }


def readings(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """How often the digit is named right: in what was learnt, alone, and, on the test split, with the answer or beside a picture."""
    import random

    from counterpoint.generation.sampler import Sampler, row_draws
    from counterpoint.generation.samplers import Own
    from counterpoint.pairs.counterparts.prompts import beside, with_hint
    from counterpoint.phases.counterparts.settings import Pairing, neighbours

    rows = list(getattr(data, split))[:READ]
    how = Sampler(max_new_tokens=6, temperature=1.0)

    def digits(prompts: list[Any], wanted: list[Any]) -> float:
        texts = model.texts(
            Own(model, how)(prompts, 1, row_draws(seed, range(len(prompts)), how.max_new_tokens))
        )
        return sum(text[:1] == row.solution[:1] for text, row in zip(texts, wanted)) / len(wanted)

    figures = {"digit": digits([row.prompt for row in rows], rows)}
    learnt = report.rows("rationales")
    if learnt:
        figures["learnt_digit"] = learnt[0]["as_solution"]
    if split == "test":
        figures |= pairs(list(data.train))
        near = neighbours(
            rows, Pairing(image_encoder="pixels", image_limit=SHARED["pairing.image_limit"])
        ).index
        paired = [at for at, other in enumerate(near.tolist()) if other >= 0]
        draw, mine = random.Random(seed), [rows[at] for at in paired]
        similar = [beside(rows[at], rows[int(near[at])], PAIR) for at in paired]
        chance = [beside(row, draw.choice([o for o in rows if o is not row]), PAIR) for row in mine]
        alone = digits([row.prompt for row in mine], mine)
        hinted = digits([with_hint(row, SHARED["wording.hint"]) for row in mine], mine)
        beside_similar, beside_chance = digits(similar, mine), digits(chance, mine)
        figures |= {
            "similar_over_alone": beside_similar - alone,
            "similar_over_hint": beside_similar - hinted,
            "similar_over_chance": beside_similar - beside_chance,
        }
    return figures


CASE = Case(
    key="vc-star",
    data="digit-questions?size=1800&validation=120&test=300",
    model="reader",
    budget={},
    seeds=5,
    trials=2,
    baseline="star",
    reply_tokens=6,
    arms={
        "start": Arm(
            method="sft",
            settings={"learning_rate": 0.0, "lora_rank": 0, "batch_size": 8},
            tune={},
            budget={"steps": 1},
        ),
        "answers": learning("answer"),
        "star": learning("hinted"),
        "vc-star": learning("rethought"),
    },
    metrics=(
        "accuracy", "digit", "similar_over_alone", "similar_over_hint", "similar_over_chance", "paired",
        "paired_same_question", "paired_same_digit",
    ),
    measure=readings,
    claims=(
        Claim(
            text="beside a similar picture, with the answers, the digit is read better than alone",
            contrast={"start": 1.0},
            metric="similar_over_alone",
        ),
        Claim(
            text="and better than with the answer alone: the second picture helps, not only the hint",
            contrast={"start": 1.0},
            metric="similar_over_hint",
        ),
        Claim(
            text="and better than beside a picture by chance",
            contrast={"start": 1.0},
            metric="similar_over_chance",
        ),
        Claim.better("contrast corrects what is learnt: more rationales name the right digit", "vc-star", "star", metric="learnt_digit"),
        Claim.better("after training more answers to new questions name the right digit", "vc-star", "star", metric="digit"),
        Claim.better("and more answers are right than with STaR's rationales", "vc-star", "star"),
        Claim.better("and than with answers alone", "vc-star", "answers"),
        Claim.better("and than before", "vc-star", "start", unequal="the model as it is has nothing to tune"),
    ),
    notes=(
        "a reader of 170 thousand weights and pictures of 8 x 8 pixels; the paper's model has 7 billion, and its core observation is of models "
        "of at least two or three: what can be put to the test here is the loop, its filters, and what pairing brings where pairs were taught",
        "rationales are a template (the digit, then the answer), and rethinking puts the digit and the answer of the contrast in place of the "
        "first ones; without a contrast it would change nothing, so the control without it is STaR's arm",
        "all learning arms sample the same stages from the same seeds and choose the same questions, of which STaR's keeps those whose rationale "
        "ends in the right answer; learning rates are tuned alike",
        "the image limit is 0.6 where the paper's is 0.5, for noise keeps pictures apart; a pilot of one seed with 0.5 and 800 questions, from which "
        "11 were learnt, was looked at before this size was settled",
        "the data and the model at the start are the same for every seed, which varies sampling and order",
    ),
)  # fmt: skip
