"""The case of user-interactions: a model with two styles and no preference meets users who have one.

It repeats letters in capitals or not. A user who likes capitals complains about small letters; another talks about something else; a
third changes their mind. How often does it write capitals afterwards, when nobody says anything?
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

CHANGE = 200
"""The interaction at which one user changes their mind."""
RATE = 2e-4
TRAINED: dict[str, Any] = {"lora_rank": 0, "batch_size": 4}
SHARED = {**TRAINED, "hindsight.template": "{prompt}|{follow_up}", "optimizer.schedule": "constant"}
ONLINE = {
    **SHARED, "form": "online", "max_new_tokens": 4, "optimizer.max_grad_norm": 1.0, "optimizer.warmup": 0.0,
    "learning_rate": RATE, "user.function": "counterpoint.cases.user_interactions:capitals",
}  # fmt: skip
RATES = {"learning_rate": [5e-5, 1e-4]}


def capitals(prompt: str, completion: str, number: int) -> str:
    """A user who likes capitals: complains about small letters, else talks about the weather."""
    return "sun" if completion.isupper() else "big"


def weather(prompt: str, completion: str, number: int) -> str:
    """A user who talks about the weather, whatever the answer."""
    return "sun"


def fickle(prompt: str, completion: str, number: int) -> str:
    """A user who likes capitals at first, and small letters from one interaction on."""
    if number < CHANGE:
        return capitals(prompt, completion, number)
    return "low" if completion.isupper() else "sun"


def style(model: Any, data: Any, split: str, seed: int, report: Any) -> dict[str, float]:
    """Share of sampled answers in capitals, of answers that repeat the letters, and the size of the reported advantages."""
    from counterpoint.generation.sampler import Sampler, row_draws

    rows = getattr(data, split).rows
    how = Sampler(max_new_tokens=4, temperature=1.0)
    sampled = how(model, model.prompts([row.prompt for row in rows]), row_draws(seed, range(len(rows)), 4))
    texts = model.texts(sampled)
    return {
        "capitals": sum(text.isupper() for text in texts) / len(texts),
        "repeats": sum(text.lower() == row.prompt for text, row in zip(texts, rows)) / len(texts),
        "advantage_size": report.figures.get("advantage_size", 0.0),
    }


def online(user: str = "capitals", **settings: Any) -> Arm:
    """The online form with one of the users above; all at one learning rate."""
    chosen = {"user.function": f"counterpoint.cases.user_interactions:{user}"}
    return Arm(method="user-interactions", settings={**ONLINE, **chosen, **settings}, tune={})


CASE = Case(
    key="user-interactions",
    data="styled-letters?digits=3&size=300&validation=100&test=200",
    model="stylist",
    budget={"steps": 50},
    seeds=5,
    trials=2,
    tune_by="capitals",
    baseline="before",
    arms={
        "before": Arm(
            method="user-interactions", settings={**ONLINE, "learning_rate": 0.0}, tune={}, budget={"steps": 1}
        ),
        "online": online(),
        "online-centred": online(**{"hindsight.center": "sequence"}),
        "online-full": online(**{"hindsight.estimate": "full"}),
        "unrelated": online("weather"),
        "change-of-mind": Arm(
            method="user-interactions",
            settings=dict(online("fickle").settings),
            tune={},
            budget={"steps": 120},
        ),
        "offline": Arm(
            method="user-interactions", settings={**SHARED, "hindsight.ignore_first": 0}, tune=RATES
        ),
        "sft": Arm(method="sft", settings=TRAINED, tune=RATES),
    },
    metrics=("capitals", "repeats", "advantage_size"),
    measure=style,
    claims=(
        Claim.better(
            "200 interactions with a user of one taste raise the share of that style by more than 0.3",
            "online", "before", metric="capitals", above=0.3,
        ),
        Claim.better(
            "follow-ups about something else do not: the user's taste raises it further than they do",
            "online", "unrelated", metric="capitals", above=0.3,
        ),
        Claim.better(
            "relevant follow-ups have larger token advantages than unrelated ones",
            "online", "unrelated", metric="advantage_size",
        ),
        Claim.better(
            "when the user changes their mind after 200, 280 further interactions turn the style round",
            "before", "change-of-mind", metric="capitals",
        ),
        Claim.better(
            "from logs of answers in both styles, hindsight learns the style that users were content with; imitation does not",
            "offline", "sft", metric="capitals",
        ),
        Claim.better(
            "centring advantages by answer, as the authors' online program does, loses what the user wanted",
            "online", "online-centred", metric="capitals",
        ),
    ),
    notes=(
        "a character model of 50 thousand weights, taught once; the seeds vary the order of the data and the sampling. The paper's models "
        "have 4 to 8 billion weights and read complaints in words",
        "the online arms share one learning rate; offline and sft choose theirs on validation, by the share of capitals",
        "answers of three letters: no first token is left out",
        "a model of 135 million weights does not read hindsight: in a probe of two prompts unrelated follow-ups moved its tokens as far as "
        "relevant ones, so no effect is claimed there",
    ),
)  # fmt: skip
