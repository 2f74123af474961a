"""The shared policy-gradient update: groups, judges that are asked once, steps that several passes are made of."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.generation.samplers import Own
from counterpoint.judges.judge import Verdicts
from counterpoint.judges.weighted import weighted
from counterpoint.models.language.characters import tiny
from counterpoint.phases.policy_gradient import (
    Clip,
    Entropy,
    Update,
    group_advantages,
    policy_log_probs,
    rows_of,
)
from counterpoint.phases.reward_baseline import RewardBaseline
from counterpoint.phases.rollouts import Rollouts, group_statistics, judge_group, sample_group
from counterpoint.training import Budget, Optimizer, Run

PROBLEMS = [Problem(f"{n}+1=", answer=str(n + 1)) for n in range(4)]


class Counting:
    """A judge that costs something: the length of an answer, and how often it was asked."""

    costly = True

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, problems: Any, answers: Answers) -> Verdicts:
        self.calls += 1
        return Verdicts.of(
            [[float(len(a["text"])) for a in row] for row in answers],
            [["by length" for _ in row] for row in answers],
        )


def rollouts(model: Any, count: int = 3, width: int = 5) -> Rollouts:
    draws = torch.rand(len(PROBLEMS), count * width, generator=torch.Generator().manual_seed(0))
    return sample_group(Own(model, Sampler(max_new_tokens=width)), PROBLEMS, count, draws)


def test_a_groups_rows_are_neighbours_and_its_own_draws_decide_them() -> None:
    model = tiny(seed=0).eval()
    whole = rollouts(model)
    assert whole.prompts == [p.prompt for p in PROBLEMS for _ in range(3)]
    draws = torch.rand(len(PROBLEMS), 15, generator=torch.Generator().manual_seed(0))
    alone = sample_group(Own(model, Sampler(max_new_tokens=5)), PROBLEMS[2:3], 3, draws[2:3])
    assert alone.texts == whole.texts[6:9]
    assert [a["text"] for a in whole.answers()[2]] == alone.texts


def test_sampled_log_probs_are_those_of_the_update() -> None:
    model = tiny(seed=0).eval()
    drawn = rollouts(model)
    logp = policy_log_probs(model, model.prompts(drawn.prompts), drawn.completions, at_once=5)
    torch.testing.assert_close(
        logp, drawn.completions.log_probs * drawn.completions.mask, rtol=1e-4, atol=1e-5
    )


def test_a_costly_judge_is_asked_once_in_a_runs_history(tmp_path: Path) -> None:
    def train(judge: Counting, stop: bool) -> list[list[str]]:
        model = tiny(seed=0).eval()
        with Run(tmp_path, progress=False, budget=Budget(steps=2)) as run:
            policy = run.state(model=model)
            run.optimize(policy, Optimizer(learning_rate=1e-3))
            for batch in run.batches(PROBLEMS, 2, epochs=1):
                draws = batch.random.uniform(15)
                drawn = sample_group(Own(policy, Sampler(max_new_tokens=5)), batch.items, 3, draws)
                rewards, (verdicts,) = judge_group(run, [judge], drawn)
                if stop:
                    return verdicts.texts
                advantage = group_advantages(run, rewards, 3, "group")
                Update("grpo").learn(run, policy, drawn, advantage)
        return verdicts.texts

    first, second = Counting(), Counting()
    assert train(first, stop=True) == [["by length"] * 3] * 2
    train(second, stop=False)
    assert (first.calls, second.calls) == (1, 1)  # the second run asks about its second batch alone


@pytest.mark.parametrize("skip", [False, True])
def test_parts_of_one_pass_add_up_to_its_gradient(tmp_path: Path, skip: bool) -> None:
    """A pass in two parts without a step between them: the mean of the parts' gradients is the whole batch's."""
    model = tiny(seed=0).double().eval()
    drawn = rollouts(model)
    advantage = torch.linspace(-1, 1, 12, dtype=torch.float64)
    prompts, update = model.prompts(drawn.prompts), Update("grpo")
    mask = drawn.completions.mask * (drawn.completions.ended[:, None] if skip else 1)

    def gradient(rows: Any) -> torch.Tensor:
        model.zero_grad()
        terms = update.losses(
            run, model, prompts[rows], drawn.completions[rows], advantage[rows], mask_NT=mask[rows]
        )
        terms["policy"].mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    with Run(tmp_path, progress=False) as run:
        parts = [gradient(rows_of(torch.tensor(groups), 3)) for groups in ([0, 2], [1, 3])]
        torch.testing.assert_close(sum(parts) / 2, gradient(slice(None)), rtol=1e-5, atol=1e-7)


def test_later_passes_have_ratios_and_skipped_rows_have_no_gradient(tmp_path: Path) -> None:
    model = tiny(seed=0).eval()
    with Run(tmp_path, progress=False, budget=Budget(steps=1)) as run:
        policy = run.state(model=model)
        run.optimize(policy, Optimizer(learning_rate=0.0, max_grad_norm=1.0))
        for batch in run.batches(PROBLEMS, 4, epochs=1):
            drawn = sample_group(
                Own(policy, Sampler(max_new_tokens=5)), batch.items, 3, batch.random.uniform(15)
            )
            stats = group_statistics(drawn, torch.zeros(12, 1), ["none"])
            update = Update("grpo", clip=Clip(threshold=0.1), iterations=2, minibatches=2)
            update.learn(
                run, policy, drawn, torch.ones(12), skip_N=torch.ones(12, dtype=torch.bool), stats=stats
            )
    event = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert event["grad_norm"] == 0.0
    assert event["equal_groups"] == 1.0
    assert event["reward/none"] == 0.0
    assert event["ratio"] == 0.0  # nothing is counted


def test_a_batch_of_fewer_prompts_than_minibatches_has_no_empty_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[int] = []
    whole = Run.step

    def step(run: Run, losses: Any, **options: Any) -> float:
        tokens.append(options["tokens"])
        return whole(run, losses, **options)

    monkeypatch.setattr(Run, "step", step)
    with Run(tmp_path, progress=False) as run:
        policy = run.state(model=tiny(seed=0).eval())
        run.optimize(policy, Optimizer(learning_rate=1e-3))
        for batch in run.batches(PROBLEMS[:3], 2, epochs=1):
            sampler = Own(policy, Sampler(max_new_tokens=5))
            drawn = sample_group(sampler, batch.items, 2, batch.random.uniform(10))
            advantage = torch.linspace(-1, 1, len(drawn.prompts))
            Update("grpo", minibatches=2).learn(run, policy, drawn, advantage)
    assert len(tokens) == 2 + 1
    assert min(tokens) > 0


def test_the_second_pass_has_the_ratio_to_the_first(tmp_path: Path) -> None:
    model = tiny(seed=0).eval()
    with Run(tmp_path, progress=False, budget=Budget(steps=2)) as run:
        policy = run.state(model=model)
        run.optimize(policy, Optimizer(learning_rate=1e-3))
        for batch in run.batches(PROBLEMS, 4, epochs=1):
            drawn = sample_group(
                Own(policy, Sampler(max_new_tokens=5)), batch.items, 3, batch.random.uniform(15)
            )
            prompts = policy.prompts(drawn.prompts)
            before = policy_log_probs(policy, prompts, drawn.completions)
            Update("grpo", iterations=2).learn(run, policy, drawn, torch.linspace(-1, 1, 12))
    after = policy_log_probs(policy, prompts, drawn.completions)
    event = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert event["ratio"] != 1.0  # without the log-probabilities before the first pass it would be
    gain = ((after - before) * torch.linspace(-1, 1, 12)[:, None] * drawn.completions.mask).sum()
    assert gain > 0, "what is rewarded is likelier"


def test_the_bonus_is_the_mean_entropy_of_the_sampled_positions(tmp_path: Path) -> None:
    model = tiny(seed=0).double().eval()
    drawn = rollouts(model)
    prompts, advantage = model.prompts(drawn.prompts), torch.linspace(-1, 1, 12, dtype=torch.float64)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    with Run(tmp_path, progress=False) as run:
        plain = Update("grpo").losses(run, model, prompts, drawn.completions, advantage)
        without = gradient(plain["policy"].mean())
        update = Update("grpo", entropy=Entropy(weight=0.3))
        terms = update.losses(run, model, prompts, drawn.completions, advantage)
        whole = gradient(sum(term.weight * term.mean() for term in terms.values()))
    rows, entropies = drawn.completions.rows(), []
    for prompt, answer in zip(drawn.prompts, rows):
        start = model.prompts([prompt]).ids[0].tolist()
        logits = model.causal(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1]
        entropies.append(-(logits.softmax(-1) * logits.log_softmax(-1)).sum())
    bonus = gradient(torch.stack(entropies).sum() / sum(map(len, rows)))
    torch.testing.assert_close(whole, without - 0.3 * bonus, rtol=1e-4, atol=1e-7)


def test_judges_with_weights() -> None:
    names = weighted("verifier + -0.5*mine.py:f + 2 * majority", lambda name: Counting())
    assert [(each.name, each.weight) for each in names] == [
        ("verifier", 1.0),
        ("mine.py:f", -0.5),
        ("majority", 2.0),
    ]
    for wrong, says in [
        ("verifier + ", "names no judge between"),
        ("0*verifier", "a weight of 0"),
        ("verifier + verifier", "names 'verifier' twice"),
    ]:
        with pytest.raises(CounterpointError, match=says):
            weighted(wrong, lambda name: Counting())


def test_a_remembered_baseline_knows_nothing_of_its_sample_and_survives() -> None:
    rewards = [torch.tensor([1.0, 2.0]), torch.tensor([4.0, math.nan]), torch.tensor([0.0, 3.0])]
    for decay in (0.9, None):
        one, mean, seen = RewardBaseline(decay), None, []
        for values in rewards:
            valid = [v for v in values.tolist() if not math.isnan(v)]
            batch = sum(valid) / len(valid)
            past = batch if mean is None else mean
            expected = [0.0 if math.isnan(v) else v - past for v in values.tolist()]
            other = RewardBaseline(decay)
            other.load_state_dict(one.state_dict())  # as a resumed run has it
            assert torch.allclose(one.advantages(values), torch.tensor(expected), atol=1e-6)
            assert torch.allclose(other.advantages(values), torch.tensor(expected), atol=1e-6)
            seen += valid
            mean = sum(seen) / len(seen) if decay is None else decay * past + (1 - decay) * batch
