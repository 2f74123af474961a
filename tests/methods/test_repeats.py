"""Equal captions and equal texts in a batch are no negatives of one another; without repeats the setting changes no bit."""

from dataclasses import replace

import pytest
import torch

from counterpoint.methods.catalog import load
from counterpoint.tasks.images import TASK as IMAGES
from counterpoint.tasks.text import TASK as TEXT
from counterpoint.training import Budget, Run

PAIRED = {
    "clip": {"optimizer": "sgd", "learning_rate": 0.05},
    "isogclr": {"bimodal": True, "learning_rate": 0.05},
}
TEXTS = {
    "vega": {
        "pretraining.replaced_tokens": False,
        "fine_tuning": False,
        "pretraining.learning_rate": 1e-2,
    },
    "contrastive-primer": {"objective": "ntxent", "epochs": 0},
}


def weights(folder, task, key, data, model, **settings):
    with Run(folder, seed=1, budget=Budget(steps=4), progress=False) as run:
        method = load(key).settings(batch_size=16, **settings)
        return method.fit(task.load_model(model, data, 1), data, run).state_dict()


def apart(one, other) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("key", PAIRED)
def test_equal_partners(key, repeated, tmp_path):
    images = IMAGES.load_data("digits", limit=48, evaluation_limit=20)
    partners = torch.randn(len(images.train), 6, generator=torch.Generator().manual_seed(0))
    if repeated:
        partners[20:40] = partners[:20]
    images = replace(images, train=replace(images.train, partners=partners))
    both = [
        weights(tmp_path / str(mask), IMAGES, key, images, "conv-small", dim=8, mask_repeats=mask, **PAIRED[key])
        for mask in (True, False)
    ]  # fmt: skip
    assert apart(*both) is repeated


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("key", TEXTS)
def test_equal_texts(key, repeated, tmp_path):
    texts = tmp_path / "texts.csv"
    rows = [f"text {n % 20 if repeated else n} is about thing{n % (4 if repeated else 7)}" for n in range(80)]
    texts.write_text("text,label\n" + "".join(f"{row},{'ab'[n % 2]}\n" for n, row in enumerate(rows)))
    data = TEXT.load_data(str(texts))
    name = "pretraining.mask_repeats" if key == "vega" else "mask_repeats"
    model = "words" if key == "contrastive-primer" else "deberta"
    both = [
        weights(tmp_path / str(mask), TEXT, key, data, model, **{name: mask}, **TEXTS[key])
        for mask in (True, False)
    ]
    assert apart(*both) is repeated
