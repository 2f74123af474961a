"""Optimiser and adapter settings of every language method, and the settings that a preference loss reads."""

from __future__ import annotations

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import pytest

import counterpoint
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.errors import CounterpointError
from counterpoint.methods import catalog, groups
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.optimization import Cosine, Linear
from counterpoint.models.language.adapters import Adapter
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language, adapt, load
from counterpoint.objectives.preference.choice import check_choice
from counterpoint.pairs.demonstrations import demonstrations
from counterpoint.training import Budget, Optimizer, Run

OF_LANGUAGE = [key for key in catalog.ready() if "lora_rank" in groups.settings_of(catalog.load(key))]


@pytest.mark.parametrize("key", OF_LANGUAGE)
def test_every_language_method_shares_optimiser_and_adapter_settings(key: str) -> None:
    settings = groups.settings_of(catalog.load(key))
    for name in ("optimizer", "adapter"):
        fields = Cosine if name == "optimizer" else Adapter
        assert {f"{name}.{field}" for field in vars(fields())} <= set(settings), key
    built = catalog.load(key).settings(**{"optimizer.schedule": "constant", "optimizer-warmup": "0"})
    assert built.optimizer.at(0.5).rate(0.0) == 0.5  # type: ignore[attr-defined]
    source = inspect.getsource(catalog.load(key))
    assert "self.optimizer.at(" in source
    assert "self.adapter)" in source


def test_the_defaults_of_a_group_stay_where_one_of_it_is_given() -> None:
    assert DPO.settings(**{"optimizer.warmup": 0.2}).optimizer == Linear(warmup=0.2)
    assert DPO.settings(optimizer="sgd").optimizer == Linear(name="sgd")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("warmup", 1.5),
        ("momentum", 1.0),
        ("betas", (0.9, 1.0)),
        ("max_grad_norm", 0.0),
        ("schedule", "cosin"),
    ],
)
def test_an_optimiser_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(CounterpointError, match=f"optimizer.{name}"):
        DPO.settings(**{f"optimizer.{name}": value})


def pairs() -> PreferenceData:
    rows = Preferences([Preference(f"{n}?", "yes", "no") for n in range(8)])
    return PreferenceData("made up", rows, rows, rows)


def fitted(out: Path, **settings: Any) -> tuple[Language, Optimizer]:
    given: list[Optimizer] = []
    with Run(out, budget=Budget(steps=2), progress=False) as run:
        kept = run.optimize
        run.optimize = lambda model, rule, name="optimizer": (given.append(rule), kept(model, rule, name))[1]  # type: ignore[method-assign,assignment]
        model = DPO.settings(batch_size=4, **settings).fit(tiny(seed=0), pairs(), run)
    return model, given[0]


def test_the_run_descends_as_it_is_told(tmp_path: Path) -> None:
    chosen = {"optimizer.name": "sgd", "optimizer.weight_decay": 0.1, "optimizer.max_grad_norm": None}
    _, rule = fitted(tmp_path / "run", learning_rate=0.5, **chosen)
    expected = Optimizer(
        name="sgd", learning_rate=0.5, schedule="linear", warmup=0.1, weight_decay=0.1, max_grad_norm=None
    )
    assert rule == expected


def test_adapters_are_put_on_as_told(tmp_path: Path) -> None:
    chosen = {"adapter.alpha": 3, "adapter.dropout": 0, "adapter.targets": ["q_proj", "v_proj"]}
    model, _ = fitted(tmp_path / "run", lora_rank=2, **chosen)
    (config,) = model.causal.peft_config.values()
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 3, 0)
    assert config.target_modules == {"q_proj", "v_proj"}


def test_adapters_have_the_scale_2_where_none_is_given() -> None:
    assert Adapter().of(8).alpha == 16.0


def test_an_adapter_setting_without_adapters_is_refused() -> None:
    with pytest.raises(CounterpointError, match=r"adapter.alpha=4.*lora_rank=0.*--lora-rank 16"):
        adapt(tiny(seed=0), 0, adapter=Adapter(alpha=4))
    with pytest.raises(CounterpointError, match=r"adapter.dropout=1"):
        Adapter(dropout=1.0)


def test_an_adapter_folder_goes_on_with_its_own_rank_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny(seed=0).save(tmp_path / "base")
    adapt(load(tmp_path / "base"), 2).save(tmp_path / "adapter", adapter=True)
    with caplog.at_level(logging.WARNING, logger="counterpoint"):
        model = adapt(load(tmp_path / "adapter"), 64)
    assert next(iter(model.causal.peft_config.values())).r == 2
    assert "adapters of rank 2" in caplog.text
    assert "lora_rank=64 is not read" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "simpoo"}, "did you mean 'simpo'"),
        ({"smoothing": 0.1}, "'sigmoid' has no label smoothing"),
        ({"margin": 0.5}, "'sigmoid' has no margin"),
        ({"loss": "ipo", "link": "js"}, "takes no link"),
        ({"link": "jss"}, "did you mean 'js'"),
        ({"loss": "exo_pair"}, "smoothing in"),
        ({"loss": "robust", "smoothing": 0.6}, "flip rate"),
        ({"undesirable_weight": 2.0}, "loss=sigmoid does not read it; it is of loss=kto"),
        ({"loss": "kto", "length_weight": 0.5}, "loss=kto does not read it"),
        ({"loss": "kto", "smoothing": 0.1}, "loss=kto does not read it"),
        ({"sft_mean": "sequence_mean"}, "--sft-weight 1"),
        ({"loss": "slic"}, "--margin 1"),
        ({"loss": "slic", "margin": 1.0, "beta": 0.2}, "loss=slic does not read it"),
        ({"beta": 0.0}, "constant"),
    ],
)
def test_a_setting_that_the_loss_does_not_read_is_refused_before_anything_runs(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with Run(tmp_path / "run", progress=False) as run, pytest.raises(CounterpointError, match=message):
        DPO.settings(**settings).fit(tiny(seed=0), pairs(), run)
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "rpo", "sft_mean": "sequence_mean"},
        {"loss": "slic", "margin": 1.0, "sft_weight": 1.0},
        {"loss": "kto", "undesirable_weight": 2.0},
        {"loss": "cdpo", "smoothing": 0.1, "link": "js"},
    ],
)
def test_a_setting_that_the_loss_reads_is_taken(settings: dict[str, Any]) -> None:
    assert check_choice(DPO.settings(**settings)) == []


def test_a_loss_that_needs_another_default_says_so() -> None:
    (line,) = check_choice(DPO.settings(loss="simpo"))
    assert "beta from 2 to 10" in line
    assert check_choice(DPO.settings(loss="simpo", beta=2.0, margin=1.0)) == []


def test_supervised_tuning_and_preferences_compete_on_preference_data(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(40)]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    settings = {
        "sft": {"lora_rank": 0, "learning_rate": 1e-2, "batch_size": 8},
        "dpo": {"learning_rate": 1e-3, "batch_size": 8},
    }
    summary = counterpoint.compare(
        ["sft", "dpo"],
        data=file,
        model="characters",
        out=tmp_path / "duel",
        settings=settings,
        seeds=2,
        steps=6,
    )
    assert set(summary["arms"]) == {"sft", "dpo"}
    result = json.loads(next((tmp_path / "duel").rglob("sft*/**/result.json")).read_text())
    assert result["metrics"]["test"]["chosen_logp"] > -4.0  # an untrained model's is -4.6 a token


def test_chosen_messages_are_imitated_as_messages() -> None:
    messages = [{"role": "assistant", "content": "yes"}]
    rows = Preferences(
        [Preference("1?", messages, "no"), Preference("2?", "", "no"), Preference("3?", "aye", "no")]
    )
    found = demonstrations(PreferenceData("made up", rows, rows, rows), "sft")
    assert [problem.example("all") for problem in found] == [("1?", messages), ("3?", "aye")]
