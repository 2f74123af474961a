"""teacher-guidance: kernels come out as the estimator's, networks descend as a loop says, resume, and take the weight they estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import load_images
from counterpoint.data.regression.load import build
from counterpoint.data.regression.splits import Regression
from counterpoint.data.text.load import load_texts
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.classification import class_logits
from counterpoint.evaluation.regression import predict
from counterpoint.kernels.ridge import best_weight
from counterpoint.methods.catalog import load
from counterpoint.models.regression.guided_ridge import GuidedRidge
from counterpoint.objectives.reduction import total
from counterpoint.phases.predictors import predictors
from counterpoint.tasks.images import TASK as IMAGES
from counterpoint.tasks.regression import TASK
from counterpoint.tasks.text import TASK as TEXT
from counterpoint.training import Budget, Run
from texts_made_up import rows as texts
from texts_made_up import write_csv

NET = {"form": "network", "network.batch_size": 8, "network.learning_rate": 1e-2}


@pytest.fixture(scope="module")
def data() -> Regression:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(120, 4)).astype(np.float32)
    targets = 3 * inputs[:, 0] + 2 * np.sin(2 * inputs[:, 1]) + 10 + draw.normal(size=120)
    sides = np.array(["train"] * 80 + ["validation"] * 20 + ["test"] * 20)
    return build(inputs, targets, sides, tuple("abcd"), "made", [])


def fit(folder: Path, data: Any, *, steps: int = 9, model: Any = None, run_class: type[Run] = Run, seed: int = 1, options: dict[str, Any] = {}, **settings: Any) -> Any:  # fmt: skip
    with run_class(folder, seed=seed, budget=Budget(steps=steps), progress=False, **options) as run:
        net = model if model is not None else TASK.load_model("mlp:layer", data, 1)
        return load("teacher-guidance").settings(**settings).fit(net, data, run)


@pytest.mark.parametrize("weight", [None, 0.3])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_kernels_come_out_as_the_estimators_on_standardised_columns(
    tmp_path: Path, data: Regression, weight: float | None, keep: str
) -> None:
    settings = {"weight": weight, "rounds": 4, "keep": keep, "kernel.penalty": 0.5}
    model = fit(tmp_path / "run", data, **settings)
    x = data.train.inputs.double().numpy()
    mean, std = x.mean(0), x.std(0, ddof=1)
    y = data.train.targets.double().numpy()

    def turned(values: np.ndarray) -> np.ndarray:
        return (values - y.mean()) / y.std(ddof=1)

    held = (data.validation.inputs.double().numpy() - mean) / std, turned(data.validation.targets.numpy())
    z = (x - mean) / std
    chain = GuidedRidge(
        penalty=0.5, steps=4, weight="best" if weight is None else weight,
        gamma=1 / (z.size / len(z) * z.var(ddof=1)), predict_step=keep,
    ).fit(z, turned(y), held)  # fmt: skip
    expected = chain.predict((data.test.inputs.double().numpy() - mean) / std) * y.std(ddof=1) + y.mean()
    np.testing.assert_allclose(predict(model, data.test.inputs).numpy(), expected, rtol=1e-4)
    TASK.save_model(model, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    torch.testing.assert_close(predict(again, data.test.inputs), predict(model, data.test.inputs))
    assert TASK.evaluate(again, data, "test")["r2"] > 0.5


def test_kernels_of_images_classify_and_come_back(tmp_path: Path) -> None:
    digits = load_images("digits", limit=300, mislabelled=0.2)
    model = fit(tmp_path / "run", digits, model=torch.nn.Identity(), form="kernel", weight=0.5, rounds=3)
    pixels = digits.train.pixels.double().flatten(1).numpy() / 255
    targets = np.eye(10)[digits.train.labels.numpy()]
    gamma = 1 / (64 * pixels.var(ddof=1))
    chain = GuidedRidge(penalty=0.2, steps=3, weight=0.5, gamma=gamma).fit(pixels, targets)
    expected = chain.predict(digits.test.pixels.double().flatten(1).numpy() / 255)
    np.testing.assert_allclose(class_logits(model, digits.test.pixels).numpy(), expected, atol=1e-4)
    assert IMAGES.evaluate(model, digits, "test")["accuracy"] > 0.8
    IMAGES.save_model(model, tmp_path / "model")
    again = IMAGES.load_model(str(tmp_path / "model"), digits, 0)
    assert torch.equal(class_logits(again, digits.test.pixels), class_logits(model, digits.test.pixels))


def test_a_step_descends_as_a_loop_says(tmp_path: Path, data: Regression) -> None:
    """Losses of the second training's first step, and each parameter's gradient, from formulas written out."""
    seen: list[tuple[dict[str, torch.Tensor], torch.Tensor, list[torch.Tensor]]] = []

    class Watching(Run):
        def step(self, losses: Any, **options: Any) -> float:
            before = {n: p.detach().clone() for n, p in NETS[0].named_parameters()}
            slopes = torch.autograd.grad(total(losses), list(NETS[0].parameters()), retain_graph=True)
            seen.append((before, losses["error"].detach(), list(slopes)))
            return super().step(losses, **options)

        def state(self, **named: Any) -> Any:
            found = super().state(**named)
            if "model" in named:
                NETS[:] = [found]
            return found

        def batches(self, *given: Any, **options: Any) -> Any:
            for batch in super().batches(*given, **options):
                ITEMS.append(batch.items)
                yield batch

    NETS: list[torch.nn.Module] = []
    ITEMS: list[Any] = []
    fit(tmp_path / "run", data, run_class=Watching, steps=6, rounds=2, weight=0.3, **NET)
    assert len(seen) == 6
    y = data.train.targets
    initial = seen[0][0]
    for name, value in seen[3][0].items():  # every training starts from the given weights
        assert torch.equal(value, initial[name])
    # The teacher is the first training's end: what the third step left.
    net = predictors(data, TASK.load_model("mlp:layer", data, 1), 1).net
    teacher = predictors(data, TASK.load_model("mlp:layer", data, 1), 1).net
    rule = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    for step in range(3):
        rule.zero_grad()
        loss(teacher, ITEMS[step], y, None, 1.0).backward()
        rule.step()
    items = ITEMS[3]
    errors = []
    for row in range(len(items.inputs)):
        p, t = (each(items.inputs, predict=True).detach()[row] for each in (net, teacher))
        scale = float(y.std())
        truth = ((p - items.targets[row]) / scale) ** 2
        errors.append(0.3 * truth + 0.7 * ((p - t) / scale) ** 2)
    torch.testing.assert_close(seen[3][1], torch.stack(errors), rtol=1e-4, atol=1e-6)
    net.zero_grad()
    loss(net, items, y, teacher, 0.3).backward()
    for expected, found in zip(net.parameters(), seen[3][2], strict=True):
        torch.testing.assert_close(found, expected.grad, rtol=1e-3, atol=1e-6)


def loss(net: Any, items: Any, y: torch.Tensor, teacher: Any, weight: float) -> torch.Tensor:
    p = (net(items.inputs, predict=True) - items.targets) / y.std()
    value = weight * (p**2).mean()
    if teacher is not None:
        apart = (net(items.inputs, predict=True) - teacher(items.inputs, predict=True).detach()) / y.std()
        value = value + (1 - weight) * (apart**2).mean()
    return value + 1e-4 * sum(each.norm() for each in net.parameters())


def test_the_estimated_weight_is_that_of_the_first_network_and_of_one_without_the_truth(
    tmp_path: Path, data: Regression
) -> None:
    """Three trainings with the estimate: the first, one of the teacher alone, and the student with the best of both."""
    fit(tmp_path / "best", data, steps=30, rounds=2, clip=False, **NET)
    first = fit(tmp_path / "first", data, steps=10, rounds=1, weight=0.5, **NET)
    alone = fit(tmp_path / "alone", data, steps=20, rounds=2, weight=0.0, **NET)
    truth = data.validation.targets[:, None]
    outputs = [predict(each, data.validation.inputs)[:, None] for each in (first, alone)]
    expected = best_weight(*outputs, truth)
    events = [json.loads(line) for line in (tmp_path / "best" / "events.jsonl").read_text().splitlines()]
    weights = [event["weight"] for event in events if "weight" in event]
    assert weights[:20] == [1.0] * 10 + [0.0] * 10
    assert weights[20:] == pytest.approx([expected] * 10, rel=1e-3)


class Killed(Exception):
    pass


class Dying(Run):
    def step(self, losses: Any, **options: Any) -> float:
        if self.cursor.spent["steps"] == 14:
            raise Killed
        return super().step(losses, **options)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_an_interrupted_chain_ends_with_the_same_bits(tmp_path: Path, data: Regression, keep: str) -> None:
    settings = {**NET, "rounds": 3, "keep": keep}
    whole = fit(tmp_path / "whole", data, steps=20, options={"audit": True}, **settings)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, steps=20, run_class=Dying, options={"checkpoint_steps": 3}, **settings)
    again = fit(tmp_path / "cut", data, steps=20, **settings)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_micro_batches_change_nothing(tmp_path: Path, data: Regression) -> None:
    settings = {**NET, "rounds": 2, "weight": 0.4}
    whole = fit(tmp_path / "whole", data, **settings)
    parts = fit(tmp_path / "parts", data, options={"micro_batch_size": 3}, **settings)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_texts_learn_and_come_back(tmp_path: Path, several: bool) -> None:
    path = write_csv(tmp_path / "mails.csv", texts(120))
    mails = load_texts(path)
    if several:
        from dataclasses import replace

        mails = replace(mails, multi_label=True)
    model = fit(
        tmp_path / "run", mails, steps=90, model=TEXT.load_model("words", mails, 1), rounds=2, weight=0.5,
        **{**NET, "network.learning_rate": 0.02},
    )  # fmt: skip
    TEXT.save_model(model, tmp_path / "model")
    again = TEXT.load_model(str(tmp_path / "model"), mails, 0)
    assert TEXT.evaluate(again, mails, "test")["macro_ap"] > 0.6


def test_keep_best_returns_the_step_with_the_lowest_error(tmp_path: Path, data: Regression) -> None:
    model = fit(tmp_path / "run", data, steps=30, rounds=5, weight=0.0, keep="best", **NET)
    y = data.train.targets
    error = ((predict(model, data.validation.inputs) - data.validation.targets) / y.std()) ** 2
    lasts = [fit(tmp_path / f"last-{n}", data, steps=6 * n, rounds=n, weight=0.0, **NET) for n in range(1, 6)]
    errors = [
        float((((predict(one, data.validation.inputs) - data.validation.targets) / y.std()) ** 2).mean())
        for one in lasts
    ]
    assert float(error.mean()) == pytest.approx(min(errors), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "at least 1 round"),
        ({"weight": 1.5}, "from 0 to 1"),
        ({"kernel.penalty": 0.0}, "above 0"),
        ({"kernel.name": "rfb"}, "rbf"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(CounterpointError, match=words):
        load("teacher-guidance").settings(**settings)


def test_data_that_does_not_fit_is_refused(tmp_path: Path, data: Regression) -> None:
    from dataclasses import replace

    empty = replace(data, validation=data.validation[torch.tensor([], dtype=torch.long)])
    with pytest.raises(CounterpointError, match="no validation rows"):
        fit(tmp_path / "a", empty)
    mails = load_texts(write_csv(tmp_path / "mails.csv", texts(60)))
    with pytest.raises(CounterpointError, match="form=network"):
        fit(tmp_path / "b", mails, model=torch.nn.Identity(), form="kernel")
    bare = load_texts(tmp_path / "mails.csv", label="none")
    with pytest.raises(CounterpointError, match="labels"):
        fit(tmp_path / "c", bare, model=TEXT.load_model("words", bare, 1), form="network")
    with pytest.raises(CounterpointError, match="mislabelled"):
        load_images("digits", mislabelled=1.5)
