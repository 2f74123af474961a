"""The case of prompt-spo: is a better prompt found without labels, by votes on three questions, and what do four votes protect from?

A tiny model names letters as three words in front of the question say; of twelve instructions one makes it right always, three on half
of the letters, the others never. Proposals change one word at random; voters see answers only, and read what anybody could. Nothing is trained.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

PART = "counterpoint.tasks.stock.follower"
SHARED: dict[str, Any] = {
    "prompt": "once plain chatty",
    "requirements": "Name the third letter after the one in the question; show every letter on the way; end with Answer: letter.",
    "rounds": 9,
    "max_new_tokens": 32,
    "proposer.author": f"{PART}:propose",
}


def search(**settings: Any) -> Arm:
    """Prompt optimisation with these settings beside the shared ones."""
    return Arm(method="prompt-spo", settings={**SHARED, **settings}, tune={})


def decisions(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """The share of proposals whose acceptance contradicts their accuracy, and how many were accepted."""
    from counterpoint.evaluation.language import greedy_accuracy
    from counterpoint.models.language.instructed import Instructed
    from counterpoint.models.language.language import Language

    plain = Language(model.causal, model.tokenizer, runs=model.runs)
    rows, right = report.rows("lineage"), {}
    for row in rows:
        if row["prompt"] not in right:
            instructed = Instructed(plain, row["prompt"])
            right[row["prompt"]] = greedy_accuracy(instructed, getattr(data, split))["accuracy"]
    by_round = {row["round"]: right[row["prompt"]] for row in rows}
    worse = [
        bool(row["accepted"]) and by_round[row["round"]] < by_round[row["parent"]]
        for row in rows
        if "parent" in row
    ]
    missed = [
        not row["accepted"] and by_round[row["round"]] > by_round[row["parent"]]
        for row in rows
        if "parent" in row
    ]
    best = max(right.values())
    return {
        "accepted": float(sum(row["accepted"] for row in rows[1:])),
        "worse_accepted": sum(worse) / max(len(worse), 1),
        "better_rejected": sum(missed) / max(len(missed), 1),
        "best_seen": best,
    }


CASE = Case(
    key="prompt-spo",
    data="third-letter?size=200&validation=50&test=100",
    model="follower",
    budget={},
    seeds=10,
    baseline="initial",
    arms={
        "initial": search(rounds=0),
        "random": search(votes=1, **{"voter.author": f"{PART}:coin"}),
        "spo": search(**{"voter.author": f"{PART}:judge"}),
        "spo-noisy": search(**{"voter.author": f"{PART}:noisy"}),
        "one-noisy-vote": search(votes=1, **{"voter.author": f"{PART}:noisy"}),
        "one-question": search(questions=1, **{"voter.author": f"{PART}:judge"}),
        "labels": search(judge="verifier"),
        "labels-50": search(judge="verifier", questions=50),
    },
    metrics=("accuracy", "accepted", "worse_accepted", "better_rejected", "best_seen"),
    measure=decisions,
    claims=(
        Claim.better("a better prompt is found without labels", "spo", "initial", above=0.2),
        Claim.better("it is the votes: accepting by chance finds less", "spo", "random"),
        Claim.better(
            "votes without labels are within 0.1 of labels on as many questions", "spo", "labels", above=-0.1
        ),
        Claim.better(
            "a voter who does not look in three of ten votes still beats chance", "spo-noisy", "random"
        ),
        Claim(
            text="of a noisy voter, four votes accept fewer worse prompts than one",
            contrast={"one-noisy-vote": 1.0, "spo-noisy": -1.0},
            metric="worse_accepted",
        ),
        Claim(
            text="and the price is caution: they accept fewer prompts in all",
            contrast={"one-noisy-vote": 1.0, "spo-noisy": -1.0},
            metric="accepted",
        ),
    ),
    notes=(
        "a made-up task of twelve possible prompts, a proposer that changes a word at random and voters that are programs: what is tested "
        "is the loop (questions, votes, order, majority), not how well a large model proposes or judges",
        "every search may make 9 proposals; seeds change proposals, votes, their order and the questions, the model and the data are the same",
        "one run of an earlier voter, which gave equal marks to chatter and none, was looked at before this case was written; it ended at another prompt than the best",
        "voters read the mark, chatter, and whether each letter follows the one before, as the requirement says; no result is shown to them",
    ),
)
