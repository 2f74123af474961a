"""The first steps of SFT, DPO's losses, KTO and a reward model have TRL 1.16's losses, read from what ``references/trl_losses.py`` wrote."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language import preferences, problems
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.baselines.reward import Reward
from counterpoint.methods.baselines.sft import SFT
from counterpoint.methods.optimization import Cosine, Linear
from counterpoint.models.language.language import Language
from counterpoint.models.language.reward import RewardModel
from counterpoint.training import Run

REFERENCES = Path(__file__).parents[2] / "references"
sys.path.insert(0, str(REFERENCES))

import families  # noqa: E402

import training  # noqa: E402

TRL = json.loads((REFERENCES / "trl_losses.json").read_text())
HOW: dict[str, Any] = {"schedule": "constant", "warmup": 0.0, "max_grad_norm": None}
EVERY: dict[str, Any] = {
    "learning_rate": training.LEARNING_RATE,
    "lora_rank": 0,
    "batch_size": len(training.PAIRS),
    "epochs": training.STEPS,
}


def first_losses(method: Any, load: Any, rows: list[dict[str, Any]], tmp_path: Path) -> list[float]:
    """Losses of the first steps on rows from a file, with the model of the references."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    names = families.tokenizer(training.FAMILY)
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        method.fit(Language(training.causal(len(names)), names), load(file, validation=0, test=0), run)
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def test_sft(tmp_path: Path) -> None:
    method = SFT(optimizer=Cosine(**HOW), **EVERY)
    assert first_losses(method, problems.load, training.SUPERVISED, tmp_path) == pytest.approx(
        TRL["sft"], rel=2e-5
    )


@pytest.mark.parametrize("loss", TRL["dpo"])
def test_dpo(loss: str, tmp_path: Path) -> None:
    smoothing = {"smoothing": training.SMOOTHING} if loss in ("exo_pair", "robust") else {}
    method = DPO(loss=loss, beta=training.BETA, optimizer=Linear(**HOW), **EVERY, **smoothing)
    assert first_losses(method, preferences.load, training.PAIRS, tmp_path) == pytest.approx(
        TRL["dpo"][loss], rel=1e-4
    )


@pytest.mark.parametrize("name", TRL["reward"])
def test_reward(name: str, tmp_path: Path) -> None:
    rows, weight = training.REWARDS[name]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    names = families.tokenizer(training.FAMILY)
    whole = training.scorer(len(names))
    start = training.causal(len(names))
    method = Reward(centre_weight=weight or 0.0, optimizer=Linear(**HOW), **EVERY)
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        data = preferences.load(tmp_path / "rows.jsonl", validation=0, test=0)
        method.fit(RewardModel(Language(start, names), whole.score), data, run)
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if "loss" in event]
    assert losses == pytest.approx(TRL["reward"][name], rel=2e-5)


def test_words_of_others_move_no_loss_of_pairs(tmp_path: Path) -> None:
    """A completion of several messages: its loss is that of the assistant's tokens, in a loop over the model's own logits."""
    asked, answer, more, last = (
        families.turn(role, text)
        for role, text in (("user", "Why?"), ("assistant", "It is."), ("user", "And?"), ("assistant", "blue"))
    )
    rows = [
        {
            "prompt": [asked],
            "chosen": [answer, more, last],
            "rejected": [families.turn("assistant", f"No {n}.")],
        }
        for n in range(2)
    ]
    names = families.tokenizer(training.FAMILY)
    method = DPO(loss="simpo", beta=2.0, **(EVERY | {"batch_size": 2, "epochs": 1}))
    [loss] = first_losses(method, preferences.load, rows, tmp_path)
    model = training.causal(len(names)).eval()
    means = []
    for talk, own in (
        ([asked, answer, more, last], ("It is.", "blue")),
        ([asked, rows[0]["rejected"][0]], ("No 0.",)),
        ([asked, rows[1]["rejected"][0]], ("No 1.",)),
    ):
        text = names.apply_chat_template(talk, tokenize=False)
        ids = names(text)["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        spans = [(text.index("assistant\n" + each) + len("assistant\n"), each) for each in own]
        learnt = set()
        for start, each in spans:
            stop = start + len(each + "<|im_end|>\n")
            learnt |= set(range(len(names(text[:start])["input_ids"]), len(names(text[:stop])["input_ids"])))
        means.append(sum(float(log_p[at - 1, ids[at]]) for at in learnt) / len(learnt))
    wanted = sum(math.log1p(math.exp(-2.0 * (means[0] - worse))) for worse in means[1:]) / 2
    assert loss == pytest.approx(wanted, rel=1e-4)


def test_kto(tmp_path: Path) -> None:
    method = DPO(loss="kto", beta=training.BETA, optimizer=Linear(**HOW), **EVERY)
    assert first_losses(method, preferences.load, training.MARKED, tmp_path) == pytest.approx(
        TRL["kto"], rel=1e-4
    )
