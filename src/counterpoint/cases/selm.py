"""The case of selm: the bandit whose best action is rarely taken, learnt in five rounds from rankings of three answers to a prompt.

The model writes one of a hundred actions; the best lies where it seldom goes. In every round it answers 50 prompts three times, the best
and the worst answer are learnt from, and what counts is how good the answers of all rounds are: reward for every label.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim


def earned(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Mean reward of all answers that were ranked, of those of the first three rounds, and the model's expected reward at the end."""
    from counterpoint.data.language.bandits import ACTIONS
    from counterpoint.tasks.stock.bandit import action_probabilities, action_rewards

    rows = list(getattr(data, split))
    mass = action_probabilities(model, rows)
    expected = float((mass * action_rewards(ACTIONS.index(rows[0].answer[0]))).sum())
    rewards = report.column("rounds", "reward_sampled") or [expected]
    return {
        "earned": sum(rewards) / len(rewards),
        "earned_early": sum(rewards[:3]) / len(rewards[:3]),
        "expected_reward": expected,
    }


SHARED: dict[str, Any] = {
    "rounds": 5,
    "answers": 3,
    "temperature": 1.0,
    "beta": 0.1,
    "max_new_tokens": 1,
    "batch_size": 25,
    "epochs": 3.0,
    "last_rate": 1.0,
    "lora_rank": 0,
}
RATES = {"learning_rate": [1e-3, 2e-3, 4e-3]}


def selm(**settings: Any) -> Arm:
    """One form of the rounds, its learning rate chosen by what tuning's own seeds earn."""
    return Arm(method="selm", settings={**SHARED, **settings}, tune=RATES)


CASE = Case(
    key="selm",
    kind="problems",
    data="bandit?size=250&validation=20&test=20&peak=70",
    model="bandit",
    budget={},
    seeds=10,
    trials=3,
    tuning_seeds=2,
    tune_by="earned",
    baseline="iterative dpo",
    arms={
        "iterative dpo": selm(alpha=0.0),
        "selm, alpha 0.01": selm(alpha=0.01),
        "selm": selm(alpha=0.05),
        "selm, alpha 0.3": selm(alpha=0.3),
        "selm, alpha 3": selm(alpha=3.0),
        "selm, initial reference": selm(alpha=0.05, reference="initial"),
    },
    metrics=("earned", "earned_early", "expected_reward"),
    measure=earned,
    claims=(
        Claim.better(
            "optimism earns more for the same number of rankings", "selm", "iterative dpo", metric="earned"
        ),
        Claim.better(
            "optimism earns more in the first three rounds", "selm", "iterative dpo", metric="earned_early"
        ),
        Claim.better(
            "the model is better after five rounds", "selm", "iterative dpo", metric="expected_reward"
        ),
        Claim.better("too much optimism earns less", "selm", "selm, alpha 3", metric="earned"),
        Claim.better(
            "a reference that steps along earns more than the initial one",
            "selm",
            "selm, initial reference",
            metric="earned",
        ),
    ),
    notes=(
        "a transformer of 30 thousand weights, taught anew for every seed, answers of one token, and the true rewards rank them; the paper's "
        "models have 4 to 8 billion weights, and theirs is ranked with a pair that was there",
        "750 answers are ranked in each run, in five rounds of 30 steps at most; alpha 0.05 and beta 0.1 were chosen, and the sizes, on runs "
        "of seeds 0 to 3, which are among the ten",
        "every arm chose its learning rate from the same three by what two further seeds earned",
    ),
)
