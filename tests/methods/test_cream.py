"""CREAM and self-rewarding on a tiny model: rounds, weights, baselines, resumption, lessons."""

import json
from pathlib import Path

import pytest
import torch

from counterpoint.data.language.problems import Problem, ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.methods.baselines.self_rewarding import SelfRewarding
from counterpoint.methods.cream import CREAM
from counterpoint.models.language.characters import tiny
from counterpoint.phases.self_training import label_precision, pairs_from, seed_and_prompts
from counterpoint.training import Run

SMALL = {
    "rounds": 2, "answers": 4, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 4, "learning_rate": 1e-3,
    "batch_size": 8, "sft_epochs": 2.0, "sft_learning_rate": 3e-3, "seed_examples": 16,
}  # fmt: skip


def sums(size: int = 56) -> ProblemData:
    return load(f"backward-sums?digits=1&size={size}&validation=8&test=8")


def events(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fit(
    out: Path, method: object, data: ProblemData | None = None, seed: int = 0
) -> tuple[torch.nn.Module, list[dict]]:
    with Run(out, seed=seed, progress=False, audit=True) as run:
        model = method.fit(tiny(seed=0, length=32), data or sums(), run)
    return model, events(out)


@pytest.mark.parametrize(
    "settings",
    [{}, {"weight": "sample"}, {"measure": "spearman"}, {"measure": "top_order"}, {"lora_rank": 4}],
)
def test_rounds(tmp_path: Path, settings: dict) -> None:
    _, seen = fit(tmp_path / "run", CREAM(**SMALL | settings))
    rounds = [event for event in seen if "round" in event]
    assert [event["round"] for event in rounds] == [1, 2]
    assert all(0 <= event["consistency"] <= 1 for event in rounds)
    assert all(event["pairs"] > 0 for event in rounds)
    losses = [event for event in seen if "reward_margin" in event]
    first = [
        event for event in losses if event["loop"].endswith("round-1/train") or "1/train" in event["loop"]
    ]
    assert abs(first[0]["reward_margin"]) < 1e-4, "the reference is the model at the start of the round"


def test_full_trust_is_self_rewarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With C = 1 CREAM is DPO on its own labels: the same bits as the method without a regulariser."""
    import counterpoint.methods.cream as module

    real = module.agreement_rates
    monkeypatch.setattr(module, "agreement_rates", lambda *a: torch.where(real(*a).isnan(), torch.nan, 1.0))
    ours, _ = fit(tmp_path / "cream", CREAM(**SMALL))
    theirs, _ = fit(tmp_path / "plain", SelfRewarding(**SMALL))
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=0)


def test_first_round_compares_with_the_length_normalised_initial_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import counterpoint.methods.cream as module

    calls = []
    monkeypatch.setattr(module, "mean_rewards", lambda s, n: calls.append((s, n)) or s / n)
    fit(tmp_path / "run", CREAM(**SMALL))
    assert len(calls) == 1
    assert (calls[0][1].nan_to_num(1) >= 1).all()


def test_earlier_self_is_the_model_of_the_round_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import counterpoint.methods.cream as module

    real, asked = module.answers_log_probs, []

    def watched(run: Run, judges: tuple, *rest: object) -> object:
        asked.append([weights(judge) for judge in judges])
        return real(run, judges, *rest)

    monkeypatch.setattr(module, "answers_log_probs", watched)
    start = weights(tiny(seed=0, length=32))
    fit(tmp_path / "run", CREAM(**SMALL))
    (current_1, initial_1, past_1), (current_2, initial_2, past_2) = asked
    for same in (initial_1, past_1, initial_2):
        torch.testing.assert_close(same, start, rtol=0, atol=0)
    torch.testing.assert_close(past_2, current_1, rtol=0, atol=0)
    assert (current_2 != current_1).any()


def test_oracle_labels_are_right(tmp_path: Path) -> None:
    _, seen = fit(
        tmp_path / "run", SelfRewarding(**SMALL | {"judge": "verifier", "answers": 12, "sft_epochs": 40.0})
    )
    found = [event["label_precision"] for event in seen if event.get("pairs")]
    assert found
    assert all(value == 1.0 for value in found)


def test_a_second_run_in_the_same_folder_changes_nothing(tmp_path: Path) -> None:
    first, _ = fit(tmp_path / "run", CREAM(**SMALL))
    again, _ = fit(tmp_path / "other", CREAM(**SMALL))
    torch.testing.assert_close(weights(first), weights(again), rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_stopped_at_a_step_and_resumed(tmp_path: Path, step: int) -> None:
    whole, _ = fit(tmp_path / "whole", CREAM(**SMALL))

    class Stop(Exception):
        pass

    class Halting(Run):
        taken = 0

        def step(self, *args: object, **kwargs: object) -> float:
            if self.taken == step:
                raise Stop
            self.taken += 1
            return super().step(*args, **kwargs)

    run = Halting(tmp_path / "cut", seed=0, progress=False, checkpoint_steps=2)
    with pytest.raises(Stop), run:
        CREAM(**SMALL).fit(tiny(seed=0, length=32), sums(), run)
    resumed, _ = fit(tmp_path / "cut", CREAM(**SMALL))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_pairs_skip_equal_rewards_and_single_answers() -> None:
    answers = [
        [{"ids": [1], "text": t, "ended": True} for t in row] for row in (["a", "b"], ["a", "a"], ["a", "b"])
    ]
    logp, rewards = torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    best, worst = torch.tensor([0, 0, 0]), torch.tensor([1, 0, 1])
    made = pairs_from(answers, logp, rewards, valid, best, worst)
    assert [(pair["prompt"], pair["chosen"]["text"]) for pair in made] == [(0, "a")]
    problems = Problems([Problem("x", answer="a")] * 3, "exact")
    assert label_precision(made, problems.rows, problems) == 1.0


def test_seed_and_prompts() -> None:
    rows = Problems([Problem(f"{i}", solution="s" if i < 4 else "") for i in range(10)], "exact")
    seed, parts = seed_and_prompts(rows, None, 3)
    assert len(seed) == 4
    assert sorted(len(part) for part in parts) == [2, 2, 2]
    seed, parts = seed_and_prompts(rows, 1, 3)
    assert (len(seed), sum(map(len, parts))) == (1, 9)
    for given, says in [((5, 3), "seed_examples=5"), ((None, 7), "do not fill")]:
        with pytest.raises(CounterpointError, match=says):
            seed_and_prompts(rows, *given)
    with pytest.raises(CounterpointError, match="judge=intrinsic"):
        seed_and_prompts(rows, None, 3, verified=True)


def test_prompts_without_different_answers_are_said(tmp_path: Path) -> None:
    _, seen = fit(tmp_path / "run", CREAM(**SMALL | {"temperature": 0.0, "rounds": 1}))
    assert [event["pairs"] for event in seen if "round" in event] == [0]
    assert (
        "no prompt has two different answers, one better" in (tmp_path / "run" / "messages.log").read_text()
    )


def test_settings_teach() -> None:
    with pytest.raises(CounterpointError, match="did you mean 'weight'"):
        CREAM.settings(wieght="sample")
    with pytest.raises(CounterpointError, match="weight"):
        CREAM.settings(weight="mean")
