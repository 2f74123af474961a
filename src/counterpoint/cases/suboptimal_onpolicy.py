"""The case of suboptimal-onpolicy: the paper's own didactic bandit, a hundred actions, logged data, a reward with one peak.

The same losses run on the same number of judged answers (1000) and gradient steps (50), with the peak far from the logged actions or
among them: what on-policy answers and a negative gradient add is then seen to hang on where the peak lies.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from counterpoint.study.case import Arm, Case, Claim

FAR, NEAR = "bandit?size=100&validation=20&test=20&peak=70", "bandit?size=100&validation=20&test=20&peak=20"
ROW = FAR + "&length=9"
SHARED = {"answers": 10, "lora_rank": 0, "max_new_tokens": 1}
OFFLINE = {**SHARED, "sampling": "offline", "batch_size": 100, "minibatches": 5, "passes": 1}
ONLINE = {**SHARED, "sampling": "online", "batch_size": 20, "passes": 10}
better = partial(Claim.better, metric="expected_reward")
RATES = {"learning_rate": [1e-3, 3e-3, 1e-2]}
LOSSES: dict[str, dict[str, Any]] = {
    "bon": {"loss": "best_of_n"},
    "bon-lowered": {"loss": "best_of_n", "negative.kind": "average", "negative.weight": 0.3},
    "pref-ft": {"loss": "pref_ft", "threshold": 0.2},
    "rwr": {"loss": "rwr", "beta": 0.1},
    "dpo": {"loss": "dpo", "threshold": 0.2},
    "ipo": {"loss": "ipo", "threshold": 0.2, "beta": 0.05},
    "ipo-all-pairs": {"loss": "ipo", "beta": 0.05},
    "ppo": {"loss": "ppo"},
    "reinforce": {"loss": "reinforce"},
    "reinforce-raised": {"loss": "reinforce", "negative.kind": "none"},
}


def offline(loss: str, data: str = FAR, **settings: Any) -> Arm:
    """Ten times over 1000 answers of the model as it was given, in five steps."""
    given = {**OFFLINE, **LOSSES[loss], **settings}
    return Arm(method="suboptimal-onpolicy", settings=given, tune=RATES, data=data, budget={"steps": 10})


def online(loss: str, data: str = FAR, batches: float = 5, **settings: Any) -> Arm:
    """Five times: 200 answers of the policy at hand, and ten steps on them."""
    given = {**ONLINE, **LOSSES[loss], **settings}
    return Arm(method="suboptimal-onpolicy", settings=given, tune=RATES, data=data, budget={"steps": batches})


def rewarded(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Expected reward, of one action exactly, of several by eight samples a context; and of the first action the KL to the logged ones."""
    import torch

    from counterpoint.data.language.bandits import ACTIONS, bump, logged
    from counterpoint.generation.answers import several_answers
    from counterpoint.generation.sampler import Sampler
    from counterpoint.generation.samplers import Own
    from counterpoint.tasks.stock.bandit import action_probabilities, action_rewards

    rows = list(getattr(data, split))
    mass = action_probabilities(model, rows)
    ratio = mass.clamp(min=1e-12).log() - torch.tensor(logged()).log()
    best, length = ACTIONS.index(rows[0].answer[0]), len(rows[0].answer)
    if length == 1:
        reward = float((mass * action_rewards(best)).sum())
    else:
        sampler = Own(model, Sampler(max_new_tokens=length))
        answers = several_answers(sampler, [row.prompt for row in rows], 8, seed=seed)
        rewards = [bump(each["text"], row.answer) for row, drawn in zip(rows, answers) for each in drawn]
        reward = sum(rewards) / len(rewards)
    return {"expected_reward": reward, "moved": float((mass * ratio).sum())}


def gain(better: str, worse: str) -> dict[str, float]:
    """The contrast that says how much more the difference of two losses is far from the logged actions than among them."""
    return {better: 1.0, worse: -1.0, f"{better}, near": -1.0, f"{worse}, near": 1.0}


IN_ROW = {"max_new_tokens": 9}

CASE = Case(
    key="suboptimal-onpolicy",
    data=FAR,
    model="bandit",
    budget={"steps": 10},
    seeds=5,
    trials=3,
    tune_by="expected_reward",
    baseline="offline bon",
    arms={
        "logged": Arm(
            method="suboptimal-onpolicy",
            settings={**OFFLINE, "loss": "best_of_n", "learning_rate": 0.0},
            tune={},
            budget={"steps": 1},
        ),
        **{f"offline {loss}": offline(loss) for loss in LOSSES if loss not in ("ppo", "reinforce", "reinforce-raised")},
        **{f"online {loss}": online(loss) for loss in LOSSES if loss not in ("bon-lowered", "ipo-all-pairs")},
        "online bon, one batch": online("bon", batches=1, batch_size=100, passes=10, minibatches=5),
        **{f"offline {loss}, near": offline(loss, NEAR) for loss in ("bon", "ipo")},
        **{f"online {loss}, near": online(loss, NEAR) for loss in ("bon", "ipo")},
        **{
            f"offline {loss}, nine": offline(loss, ROW, **IN_ROW, **more)
            for loss, more in (("bon", {}), ("ipo", {"threshold": 0.05}))
        },
        **{
            f"online {loss}, nine": online(loss, ROW, **IN_ROW, **more)
            for loss, more in (("bon", {}), ("ipo", {"threshold": 0.05}))
        },
    },
    metrics=("expected_reward", "moved"),
    measure=rewarded,
    claims=(
        better("far from the logged actions, on-policy answers make best-of-N better", "online bon", "offline bon"),
        better("far, on-policy answers make IPO better", "online ipo", "offline ipo"),
        better(
            "far, a loss with a negative gradient beats one without, both offline (IPO, best-of-N)",
            "offline ipo",
            "offline bon",
        ),
        better("far, IPO beats the likelihood of the same pairs' winners", "offline ipo", "offline pref-ft"),
        better(
            "far, best-of-N that also pushes the others down beats best-of-N",
            "offline bon-lowered",
            "offline bon",
        ),
        better(
            "far, REINFORCE beats REINFORCE without its negative advantages",
            "online reinforce",
            "online reinforce-raised",
        ),
        better("far, both together beat on-policy answers alone", "online ipo", "online bon"),
        better(
            "far, as many answers in five batches are better than in one, nearer to the policy",
            "online bon",
            "online bon, one batch",
        ),
        better(
            "far, pairs that differ by little waste IPO's gradient", "offline ipo", "offline ipo-all-pairs"
        ),
        Claim(
            text="the interaction: on-policy answers gain more far than near",
            contrast=gain("online bon", "offline bon"),
            metric="expected_reward",
        ),
        Claim(
            text="the interaction: a negative gradient gains more far than near",
            contrast=gain("offline ipo", "offline bon"),
            metric="expected_reward",
        ),
        Claim(
            text="near, likelihood offline loses less than 0.05 to a negative gradient",
            contrast={"offline bon, near": 1.0, "offline ipo, near": -1.0},
            metric="expected_reward",
            above=-0.05,
        ),
        better(
            "nine actions in a row, far: on-policy answers make best-of-N better",
            "online bon, nine",
            "offline bon, nine",
        ),
        better(
            "nine actions in a row, far: a negative gradient beats none, both offline",
            "offline ipo, nine",
            "offline bon, nine",
        ),
    ),
    notes=(
        "the paper's bandit with a transformer of 30 thousand weights for its network, a context of four digits for its vector, and the "
        "fitted model for its reference; rewards are the true ones, as in its bandits",
        "offline and online arms have the same 1000 judged answers and 50 gradient steps of 200 rows; the paper's on-policy runs have more "
        "of both",
        "sizes (steps, thresholds, beta) were chosen on runs of seed 0, which is among the five; the learning rate of every arm is "
        "chosen from the same three on a further seed's expected reward",
        "expected reward is exact for one action; for nine it is the mean of 160 samples",
    ),
)  # fmt: skip
