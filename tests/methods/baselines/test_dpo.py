"""DPO and its family on a tiny model: starts at the reference, learns, takes every loss, resumes, teaches."""

import json
import math
from pathlib import Path

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences, load
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.preference import preference_metrics
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.likelihood import completion_log_probs, sequence_log_probs
from counterpoint.objectives.preference.choice import SHIFTED, WITH_LIKELIHOOD
from counterpoint.objectives.preference.preference import PAIRWISE, Pair, pairwise
from counterpoint.training import Budget, Run


def pairs(count: int = 24) -> PreferenceData:
    rows = [Preference(f"{i}?", "yes" * (1 + i % 3), "no") for i in range(count)]
    return PreferenceData("made up", Preferences(rows), Preferences(rows[:4]), Preferences(rows[:4]))


def unpaired() -> PreferenceData:
    rows = [Preference(f"{i}?", **({"chosen": "yes"} if i % 2 else {"rejected": "no"})) for i in range(24)]
    return PreferenceData("marked", Preferences(rows), Preferences(rows[:4]), Preferences(rows[:4]))


def events(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def fit(
    out: Path, data: PreferenceData | None = None, steps: int = 12, **settings: object
) -> tuple[torch.nn.Module, list[dict]]:
    method = DPO.settings(**({"learning_rate": 5e-3, "batch_size": 6} | settings))
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        model = method.fit(tiny(seed=0), data or pairs(), run)
    return model, events(out)


@pytest.mark.parametrize("loss", [*PAIRWISE, *WITH_LIKELIHOOD, SHIFTED, "kto"])
def test_every_loss_learns_the_preference(tmp_path: Path, loss: str) -> None:
    needs = {
        "robust": {"smoothing": 0.1},
        "exo_pair": {"smoothing": 0.1},
        "slic": {"margin": 1.0},
        "simpo": {"beta": 2.0},
    }
    before = preference_metrics(tiny(seed=0), pairs().train)
    model, _ = fit(tmp_path / "run", loss=loss, **needs.get(loss, {}))
    after = preference_metrics(model, pairs().train)
    assert after["margin"] > before["margin"] + 0.1


def test_starts_at_log_two_with_no_reward(tmp_path: Path) -> None:
    _, seen = fit(tmp_path / "run", steps=1)
    assert seen[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(seen[0]["reward_chosen"]) < 1e-5


def test_adapters_too_start_at_the_reference(tmp_path: Path) -> None:
    model, seen = fit(tmp_path / "run", steps=3, lora_rank=4)
    assert seen[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert model.adapted
    assert seen[-1]["loss"] < math.log(2)


def test_unpaired_rows_under_kto(tmp_path: Path) -> None:
    model, _ = fit(tmp_path / "run", unpaired(), loss="kto")
    assert preference_metrics(model, unpaired().train)["accuracy"] == 1.0


def test_likelihood_beside_the_loss_holds_the_chosen_up(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path / "plain", steps=30)
    both, _ = fit(tmp_path / "both", steps=30, loss="rpo")
    chosen = [preference_metrics(m, pairs().train)["chosen_logp"] for m in (plain, both)]
    assert chosen[1] > chosen[0]


def test_one_step_is_the_formula(tmp_path: Path) -> None:
    """The gradient that reaches the weights, against autograd over text, pair by pair."""
    rows = pairs(6).train.rows
    model, data = tiny(seed=0), PreferenceData("few", Preferences(rows), Preferences([]), Preferences([]))
    method = DPO(batch_size=6, learning_rate=1e-3, length_weight=0.5, beta=0.3)
    seen: dict[str, torch.Tensor] = {}

    class Watched(Run):
        def step(self, losses: object, **kwargs: object) -> float:
            terms = list(losses.values())
            grads = torch.autograd.grad(terms[0].mean(), list(model.parameters()), retain_graph=True)
            seen.update({name: grad for (name, _), grad in zip(model.named_parameters(), grads)})
            return super().step(losses, **kwargs)

    with Watched(tmp_path / "run", seed=0, budget=Budget(steps=1), progress=False) as run:
        reference = tiny(seed=0)
        method.fit(model, data, run)
    other, total = tiny(seed=0), 0.0
    for row in rows:
        values = []
        for net in (other, reference):
            logps = [
                completion_log_probs(net, net.prompts([row.prompt]), net.completions([text]))[0]
                for text in (row.chosen, row.rejected)
            ]
            short = min(len(logps[0]), len(logps[1]))
            values.append([lp[:short].sum() + 0.5 * lp[short:].sum() for lp in logps])
        h = (values[0][0] - values[1][0].detach()) - (values[0][1] - values[1][1].detach())
        total = total - torch.nn.functional.logsigmoid(0.3 * h) / len(rows)
    expected = torch.autograd.grad(total, list(other.parameters()))
    for (name, _), grad in zip(other.named_parameters(), expected):
        torch.testing.assert_close(seen[name], grad, rtol=1e-3, atol=1e-6)


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    found = []
    for name, size in (("whole", None), ("pieces", 2)):
        with Run(
            tmp_path / name, seed=0, budget=Budget(steps=4), micro_batch_size=size, progress=False
        ) as run:
            model = DPO(learning_rate=1e-3, batch_size=6).fit(tiny(seed=0), pairs(), run)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_bcos_shift_is_the_mean_reward_of_all_answers_so_far(tmp_path: Path, monkeypatch) -> None:
    shifts, rewards = [], []

    def noting(name: str, pair: Pair, **knobs: float | torch.Tensor) -> torch.Tensor:
        shifts.append(float(knobs["shift"]))
        rewards.extend((0.1 * torch.cat(pair.ratios())).tolist())
        assert shifts[-1] == pytest.approx(sum(rewards) / len(rewards), abs=1e-6)
        return pairwise(name, pair, **knobs)

    monkeypatch.setattr("counterpoint.phases.preference.terms.pairwise", noting)
    _, seen = fit(tmp_path / "run", steps=6, loss=SHIFTED)
    assert seen[0]["loss"] == pytest.approx(2 * math.log(2), abs=1e-6)
    assert len(shifts) == 6
    assert abs(shifts[-1]) > 1e-3


def test_wrong_settings_and_data_teach(tmp_path: Path) -> None:
    for settings, data, says in [
        ({"loss": "sigmod"}, pairs(), "did you mean 'sigmoid'"),
        ({"loss": "sigmoid"}, unpaired(), "loss=kto"),
        ({"sft_mean": "mean"}, pairs(), "token_mean"),
        ({"smoothing": 0.1}, pairs(), "no label smoothing"),
    ]:
        with pytest.raises(CounterpointError, match=says):
            fit(tmp_path / "wrong", data, **settings)
    with pytest.raises(CounterpointError, match="did you mean 'beta'"):
        DPO.settings(betta=0.1)


def test_evaluation_against_a_loop() -> None:
    data = load("paired:worked-sums?size=8&validation=2&test=2").train
    model = tiny(seed=1)
    found = preference_metrics(model, data, at_once=3)
    right = 0
    for row in data:
        means = []
        for text in (row.chosen, row.rejected):
            sums, lengths = sequence_log_probs(model, [row.prompt], [text])
            means.append(float(sums / lengths))
        right += means[0] > means[1]
    assert found["accuracy"] == right / 8
    with pytest.raises(CounterpointError, match="no preferences"):
        preference_metrics(model, Preferences([]))
    with pytest.raises(CounterpointError, match="only good or only bad"):
        preference_metrics(model, Preferences([Preference("a", chosen="b")]))


def test_margins_and_ties_of_the_data(tmp_path: Path) -> None:
    """A whole step's gradient, row by row: wins with their margins, and a tie by Rao and Kupper."""
    rows = [
        Preference("1+1=", "2", "3", margin=1.5),
        Preference("1+2=", "3", "33"),
        Preference("1+3=", "4", "four", tie=True),
    ]
    data = PreferenceData("made up", *(Preferences(rows) for _ in range(3)))
    how = {"name": "sgd", "schedule": "constant", "warmup": 0.0, "max_grad_norm": None, "momentum": 0.0}
    graded = {"offset": 0.5, "ties": "rao_kupper", "tie_rate": 2.0}
    start, loop = tiny(seed=0), tiny(seed=0).eval()
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        method = DPO.settings(graded=graded, optimizer=how, learning_rate=1.0, batch_size=3, beta=0.4)
        moved = method.fit(start, data, run)
    for row in rows:
        own, fixed = [], []
        for answer in (row.chosen, row.rejected):
            own.append(completion_log_probs(loop, *loop.rows([row.prompt], [answer])).sum())
            fixed.append(own[-1].detach())
        logit = 0.4 * ((own[0] - fixed[0]) - (own[1] - fixed[1])) - 0.5 * (row.margin or 0.0)
        win = 1 / (1 + 2 * torch.exp(-logit))
        chance = 3 * win / (1 + 2 * torch.exp(logit)) if row.tie else win
        (-chance.log() / 3).backward()
    for (name, after), before in zip(moved.named_parameters(), loop.parameters(), strict=True):
        torch.testing.assert_close(before - after, before.grad, atol=2e-6, rtol=1e-4, msg=name)
    for settings, says in (
        ({}, "the data hold ties"),
        ({"loss": "ipo", "graded": graded}, "passes them over"),
    ):
        with (
            Run(tmp_path / says, seed=0, progress=False) as run,
            pytest.raises(CounterpointError, match=says),
        ):
            DPO.settings(**settings).fit(tiny(seed=0), data, run)
