"""The case of autodistil: students of 4 to 48 sizes in one super-network or two, distilled from bert-tiny without a label.

Two compact spaces against one that holds both and everything between, after as many steps in all; against the same students cut
out of the teacher without any training; and whether the loss that the search goes by orders students as their labels' probes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.study.case import OF_SEED, OF_TUNING, Arm, Case, Claim
from counterpoint.training.report import Report

COMPACT = (
    "layers=2 width=96-112/16 ratio=2-4/2 heads=2",
    "layers=1 width=32-64/32 ratio=2-4/2 heads=1",
)
ONE = ("layers=1-2 width=32-112/16 ratio=2-4/2 heads=1-2",)
SIZES = ("layers", "width", "ratio", "heads")
RATES = {"training.learning_rate": [5e-4, 2e-3]}
UNTRAINED = "nothing is trained, so that there is nothing to tune"


def arm(spaces: tuple[str, ...], settings: Mapping[str, Any] | None = None, tune: bool = True) -> Arm:
    """Spaces, and whether the rate is tuned."""
    fixed = {
        "teacher": "bert-tiny",
        "training.batch_size": 16,
        "choice.formula": "exact",
        "choice.texts": 128,
    }
    return Arm(
        method="autodistil",
        settings={**fixed, "spaces": spaces, **(settings or {})},
        tune=RATES if tune else {},
    )


def of_students(model: Any, data: Any, split: str, seed: int, report: Report) -> dict[str, float]:
    """Mean held-out loss of the students that all arms have, and how probes' order agrees with the losses'."""
    from scipy.stats import spearmanr

    from counterpoint.models.text.elastic.architecture import Sizes, space_of

    every = [a for text in COMPACT for a in space_of(text, Sizes(2, 128, 2))]
    shared = {(float(a.layers), float(a.width), float(a.ratio), float(a.heads)) for a in every}
    rows = report.rows("students")
    losses = [float(row["relation_loss"]) for row in rows if tuple(float(row[n]) for n in SIZES) in shared]
    figures = {"shared_loss": 1000 * sum(losses) / len(losses)}
    probed = [(float(row["relation_loss"]), float(row["accuracy"])) for row in rows if "accuracy" in row]
    if len(probed) > 2:
        figures["rank_agreement"] = -float(spearmanr(*zip(*probed, strict=True)).statistic)
    return figures


CASE = Case(
    key="autodistil",
    data="fortunes",
    data_options={"words": 24, "limit": 1000, "seed": OF_SEED, "untested": OF_TUNING},
    model="bert-tiny",
    budget={"steps": 80},
    seeds=5,
    trials=2,
    baseline="one-shot",
    arms={
        "few-shot": arm(COMPACT),
        "one-shot": arm(ONE),
        "truncated": arm(COMPACT, {"training.learning_rate": 0.0}, tune=False),
        "proxy": arm(COMPACT, {"choice.by": "proxy", "choice.candidates": 0, "choice.share": 1.0}),
    },
    metrics=("macro_ap", "accuracy", "shared_loss"),
    measure=of_students,
    claims=(
        Claim(
            text="the students of two compact spaces come nearer to the teacher's relations than the same students of one large space",
            contrast={"one-shot": 1.0, "few-shot": -1.0},
            metric="shared_loss",
        ),
        Claim(
            text="and nearer than the same students cut out of the teacher untrained",
            contrast={"truncated": 1.0, "few-shot": -1.0},
            metric="shared_loss",
            unequal=UNTRAINED,
        ),
        Claim.better(
            "a probe of labels ranks the topics better on the student found in compact spaces than on that of one large space",
            "few-shot",
            "one-shot",
        ),
        Claim.better(
            "and better than on a student cut out untrained", "few-shot", "truncated", unequal=UNTRAINED
        ),
        Claim.better("searching by a probe of labels finds no worse a student", "proxy", "few-shot"),
        Claim(
            text="the loss orders students as probes of their labels do: rank correlation above 0.5",
            contrast={"proxy": 1.0},
            metric="rank_agreement",
            above=0.5,
        ),
    ),
    notes=(
        "teacher and start: bert-tiny (2 layers of 128, 2 heads); 1,000 quotations cut at 24 words, another split for every seed; 80 steps of "
        "16 texts in all, 40 a space for two; the paper trains three super-networks of BERT-base for 10 epochs of Wikipedia and BookCorpus",
        "shared_loss is a thousand times the mean relation loss of the eight students of the compact spaces, on validation texts",
        "limit: half of the teacher's operations, by exact counts; the arm by proxy may take any student",
    ),
)
