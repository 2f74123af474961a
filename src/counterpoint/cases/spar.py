"""The case of spar: what pairs teach beside the instruction, and what a tree search is worth when refinements often fail.

The paper's own synthetic study, small: a model copies a letter a given number of times, wrong half of the time, in any case. Answers of a
wrong number are refined until a checker accepts them: by cutting or extending them (minimal), by writing new ones, or new ones mostly in
capitals (interfering). Everything but the pairs is the same.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

PART = "counterpoint.tasks.stock.copier"
SHARED: dict[str, Any] = {
    "rounds": 2,
    "max_new_tokens": 12,
    "temperature": 1.0,
    "top_p": 1.0,
    "beta": 0.5,
    "learning_rate": 1e-4,
    "epochs": 8.0,
    "batch_size": 32,
    "judge": "verifier",
}
SEARCHED: dict[str, Any] = {
    **SHARED,
    "judge": f"{PART}:closeness",
    "refiner.author": f"{PART}:clumsy",
    "tree.tries": 1,
}


def pairs(refiner: str) -> Arm:
    """SPaR with this refiner."""
    return Arm(method="spar", settings={**SHARED, "refiner.author": f"{PART}:{refiner}"}, tune={})


def sampled(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """How often a sampled answer has the right number, how many of its letters are capitals, and what searches found."""
    from counterpoint.generation.sampler import Sampler, row_draws

    rows = list(getattr(data, split))
    how = Sampler(max_new_tokens=12)
    prompts = model.prompts([row.prompt for row in rows])
    texts = model.texts(how(model, prompts, row_draws(seed, range(len(rows)), 12)))
    letters = "".join(texts)
    capitals = sum(each.isupper() for each in letters) / max(len(letters), 1)
    right = [text.casefold() == row.answer for text, row in zip(texts, rows)]
    searches = report.rows("searches")
    rejected = sum(row["rejected"] for row in searches)
    return {
        "sampled_accuracy": sum(right) / len(right),
        "capitals": capitals,
        "drift": abs(capitals - 0.5),
        "accepted": sum(row["pairs"] for row in searches) / max(rejected, 1),
        "refinements": sum(row["refinements"] for row in searches) / max(rejected, 1),
    }


CASE = Case(
    key="spar",
    data="copied-letters?size=400&validation=100&test=400",
    model="copier",
    budget={},
    seeds=5,
    baseline="start",
    arms={
        "start": Arm(
            method="spar", settings={**SHARED, "rounds": 0, "refiner.author": f"{PART}:minimal"}, tune={}
        ),
        "minimal": pairs("minimal"),
        "independent": pairs("independent"),
        "interfering": pairs("interfering"),
        "tree": Arm(
            method="spar", settings={**SEARCHED, "tree.branch": 3, "tree.select": 1, "tree.depth": 3}, tune={}
        ),
        "chain": Arm(
            method="spar", settings={**SEARCHED, "tree.branch": 1, "tree.select": 1, "tree.depth": 9}, tune={}
        ),
        "best-of-9": Arm(
            method="spar", settings={**SEARCHED, "tree.branch": 9, "tree.select": 1, "tree.depth": 1}, tune={}
        ),
    },
    metrics=("sampled_accuracy", "capitals", "drift", "accepted", "refinements", "accuracy"),
    measure=sampled,
    claims=(
        Claim.better(
            "refined pairs make the model follow better", "minimal", "start", metric="sampled_accuracy"
        ),
        Claim.better(
            "what differs beside the instruction is learnt: capitals rise with interfering pairs",
            "interfering",
            "minimal",
            metric="capitals",
            above=0.03,
        ),
        Claim(
            text="refined pairs leave it alone: the share of capitals stays within 0.05 of the start's",
            contrast={"start": 1.0, "minimal": -1.0},
            metric="drift",
            above=-0.05,
        ),
        Claim.better(
            "refined pairs follow better than interfering ones after the same steps",
            "minimal",
            "interfering",
            metric="sampled_accuracy",
        ),
        Claim.better(
            "a tree of refinements finds accepted answers more often than a chain, of nine at most each",
            "tree",
            "chain",
            metric="accepted",
        ),
        Claim.better(
            "and more often than nine refinements of the first answer", "tree", "best-of-9", metric="accepted"
        ),
    ),
    notes=(
        "a model of 47 thousand weights that copies letters; refiners are programs, so that pairs differ in nothing but how they are refined; "
        "the paper's models of 8 billion weights refine themselves, and its gains on IFEval are out of reach here",
        "in an earlier study of ours (two seeds) interfering pairs were less accurate after 40 steps and not after 100; no gap in "
        "accuracy is expected, the drift is",
        "before this case was written every arm but one ran once with a seed of its own and was looked at on validation (sampled accuracy "
        "0.41 at the start, 0.75 minimal, 0.74 interfering with 0.62 capitals; accepted 0.87 tree, 0.66 chain, 0.66 best of 9)",
        "the searched arms have a refiner that goes the right way one time in two, and a judge that says how far off an answer is",
    ),
)
