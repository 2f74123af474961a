"""A reward model: it learns an order, its folder is transformers' own, and it judges for other methods."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import counterpoint
from counterpoint.data.language import preferences
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.preference import reward_metrics
from counterpoint.judges.choose import judge
from counterpoint.methods.baselines.reward import Reward
from counterpoint.models.language import language
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.reward import RewardModel
from counterpoint.tasks import recognise
from counterpoint.tasks.task import task
from counterpoint.training import Run

SETTINGS: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 12.0}


def pairs(count: int = 24, **more: Any) -> PreferenceData:
    rows = [Preference(f"{n}+1=", str(n + 1), f"{n + 1}?", **more) for n in range(count)]
    return PreferenceData("made up", *(Preferences(rows) for _ in range(3)))


def trained(out: Path, data: PreferenceData, model: nn.Module | None = None, **settings: Any) -> RewardModel:
    with Run(out, seed=0, progress=False) as run:
        made = Reward.settings(**{**SETTINGS, **settings}).fit(model or tiny(seed=0), data, run)
    assert isinstance(made, RewardModel)
    return made


@pytest.mark.parametrize("rank", [0, 4])
def test_it_learns_and_its_folder_gives_the_same_rewards(tmp_path: Path, rank: int) -> None:
    from transformers import AutoModelForSequenceClassification

    data = pairs()
    model = trained(tmp_path / "run", data, lora_rank=rank, learning_rate=3e-3 if not rank else 2e-2)
    assert reward_metrics(model, data.test)["accuracy"] > 0.9
    model.save(tmp_path / "model")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert whole.config.num_labels == 1
    asked, answers = [row.prompt for row in data.test], [row.chosen for row in data.test]
    rewards = model.rewards(asked, answers)
    rows = model.rows(asked, answers)
    with torch.no_grad():
        theirs = whole(input_ids=rows.ids, attention_mask=rows.mask).logits[:, 0].double()
    torch.testing.assert_close(theirs, rewards, atol=1e-5, rtol=1e-4)
    for again in (RewardModel.load(tmp_path / "model"), counterpoint.load(tmp_path / "model")):
        torch.testing.assert_close(again.rewards(asked, answers), rewards, atol=1e-5, rtol=1e-4)
    chosen = judge(f"scored:{tmp_path / 'model'}", scorer="number", model=tiny(seed=1))
    verdicts = chosen([Problem("3+1=")], [[{"text": "4", "ids": []}, {"text": "4?", "ids": []}]])
    expected = model.rewards(["3+1="] * 2, ["4", "4?"])
    torch.testing.assert_close(verdicts.rewards[0], expected, atol=1e-5, rtol=1e-4)
    assert verdicts.rewards[0, 0] > verdicts.rewards[0, 1]


def test_a_whole_steps_gradient_is_a_loops(tmp_path: Path) -> None:
    """Plain descent by 1 moves every weight by the gradient of the mean over pairs, each computed by itself."""
    data = pairs(5, margin=0.7)
    start = RewardModel.on(tiny(seed=0), seed=0)
    how = {
        "optimizer": {
            "name": "sgd",
            "schedule": "constant",
            "warmup": 0.0,
            "max_grad_norm": None,
            "momentum": 0.0,
        }
    }
    model = trained(
        tmp_path / "run", data, copy.deepcopy(start), batch_size=5, epochs=1.0, learning_rate=1.0,
        margin_weight=2.0, centre_weight=0.1, **how,
    )  # fmt: skip
    loop = copy.deepcopy(start).eval()
    for row in data.train:
        ids = [loop.rows([row.prompt], [answer]) for answer in (row.chosen, row.rejected)]
        good, bad = (loop(each.ids, each.mask)[0] for each in ids)
        loss = torch.log1p(torch.exp(-(good - bad - 1.4))) + 0.1 * (good + bad) ** 2
        (loss / 5).backward()
    for (name, moved), (_, before) in zip(model.named_parameters(), loop.named_parameters(), strict=True):
        if before.grad is None:  # the output layer of the language model is not read
            continue
        torch.testing.assert_close(before - moved, before.grad, atol=2e-6, rtol=1e-4, msg=name)


def test_it_goes_on_and_is_judged_as_a_run(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{n}+1=", "chosen": str(n + 1), "rejected": f"{n + 1}?"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    small = {"learning_rate": 3e-3, "batch_size": 8}
    first = counterpoint.run(
        "reward", data=file, model="characters", out=tmp_path / "one", settings=small, steps=10
    )
    assert first.metrics["test"]["accuracy"] > 0.5
    second = counterpoint.run(
        "reward", data=file, model=str(tmp_path / "one/model"), out=tmp_path / "two", settings=small, steps=2
    )
    assert set(second.metrics["test"]) == {"accuracy", "margin", "chosen_reward", "rejected_reward"}
    problems = tmp_path / "problems.jsonl"
    problems.write_text("\n".join(json.dumps({"prompt": f"{n}+1="}) for n in range(12)))
    pushed = counterpoint.run(
        "grpo", data=problems, model="characters", out=tmp_path / "three", steps=2, evaluate=False,
        settings={"judge": f"scored:{tmp_path / 'two/model'}", "answers": 3, "max_new_tokens": 3, "batch_size": 4},
    )  # fmt: skip
    assert (Path(pushed.folder) / "model/model.safetensors").exists()


def test_wrong_input(tmp_path: Path) -> None:
    single = PreferenceData("one", *(Preferences([Preference("1?", chosen="yes")]) for _ in range(3)))
    with pytest.raises(CounterpointError, match="learns from pairs"):
        trained(tmp_path / "a", single)
    with pytest.raises(CounterpointError, match="a Linear has no states"):
        trained(tmp_path / "b", pairs(), nn.Linear(1, 1))
    tiny(seed=0).save(tmp_path / "causal")
    with pytest.raises(CounterpointError, match="ends in ForSequenceClassification"):
        RewardModel.load(tmp_path / "causal")
    model = RewardModel.on(tiny(seed=0))
    with pytest.raises(CounterpointError, match="without its head"):
        model.save(tmp_path / "adapter", adapter=True)
    model.save(tmp_path / "scorer")
    with pytest.raises(CounterpointError, match="LlamaForSequenceClassification, which writes nothing"):
        language.load(tmp_path / "scorer")
    with pytest.raises(CounterpointError, match="the reward model reads"):
        model.rewards(["1" * 2000], ["2"])
    loaded = task("preferences").load_model(str(tmp_path / "scorer"), None, 0)
    assert isinstance(loaded, RewardModel)


def test_rows_that_say_how_much_and_ties(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a?", "chosen": "x", "rejected": "y", "margin": 1.5},
        {"prompt": "b?", "chosen": "x", "rejected": "y", "tie": True},
        {"prompt": "c?", "chosen": "x", "rejected": "y"},
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    dropped = preferences.load(file, validation=0, test=0)
    assert [row.margin for row in dropped.train] == [1.5, None]
    assert any("left out 1 tie" in note for note in dropped.notes)
    kept = preferences.load(file, validation=0, test=0, ties="keep")
    assert [row.tie for row in kept.train] == [False, True, False]
    assert kept.fingerprint() != dropped.fingerprint()
    assert "1 with a margin; 1 ties" in "\n".join(kept.describe())
    for wrong, says in [
        ({"margin": "much"}, "margin='much'"),
        ({"margin": "nan"}, "margin"),
        ({"tie": "perhaps"}, "tie="),
    ]:
        file.write_text(json.dumps({**rows[2], **wrong}))
        with pytest.raises(CounterpointError, match=says):
            preferences.load(file, validation=0, test=0)


def test_rankings_become_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}?", "completions": ["good", "bad", "fair", "fine"], "scores": [3, 0, 2, 2]}
        for n in range(4)
    ]
    file = tmp_path / "ranked.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    found = {}
    for how in ("all", "adjacent", "best", "extremes"):
        data = preferences.load(file, validation=0, test=0, pairs=how, ties="keep")
        found[how] = [(p.chosen, p.rejected, p.margin, p.tie) for p in data.train if p.prompt == "0?"]
    assert found["extremes"] == [("good", "bad", 3.0, False)]
    assert found["adjacent"] == [
        ("good", "fair", 1.0, False),
        ("fair", "fine", 0.0, True),
        ("fine", "bad", 2.0, False),
    ]
    assert [p[1] for p in found["best"]] == ["fair", "fine", "bad"]
    assert len(found["all"]) == 6
    plain = [{"prompt": "0?", "completions": ["good", "fair", "bad"]}]
    file.write_text(json.dumps(plain[0]))
    in_order = preferences.load(file, validation=0, test=0, pairs="adjacent")
    assert [(p.chosen, p.rejected, p.margin) for p in in_order.train] == [
        ("good", "fair", None),
        ("fair", "bad", None),
    ]
    talk = [[{"role": "assistant", "content": text}] for text in ("yes", "no")]
    file.write_text(json.dumps({"prompt": [{"role": "user", "content": "0?"}], "completions": talk}))
    assert preferences.load(file, validation=0, test=0).train[0].chosen == "yes"
    assert recognise.kind_of(str(file)) == "preferences"
    for wrong, says in [
        ({"completions": ["one"]}, "at least two answers"), ({"completions": "one"}, "at least two answers"),
        ({"scores": [1, 2]}, "as many numbers"), ({"scores": [1, "x", 2, 3]}, "as many numbers"),
        ({"completions": ["a", "", "b", "c"]}, "the answer is ''"), ({"prompt": None}, "the prompt is"),
    ]:  # fmt: skip
        file.write_text(json.dumps({**rows[0], **wrong}))
        with pytest.raises(CounterpointError, match=says):
            preferences.load(file, validation=0, test=0)
