"""A kind of data small enough to test every study on: points of two classes, a linear classifier."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from counterpoint.errors import CounterpointError


class Rows:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Points:
    def __init__(self, noise: float, shift: int):
        generator = torch.Generator().manual_seed(shift)
        x = torch.randn(240, 4, generator=generator)
        y = (
            x @ torch.tensor([1.0, -1.0, 0.5, 0.0]) + noise * torch.randn(240, generator=generator) > 0
        ).float()
        self.train, self.validation, self.test = (
            Rows(x[:80], y[:80]),
            Rows(x[80:160], y[80:160]),
            Rows(x[160:], y[160:]),
        )

    def describe(self):
        return ["80 points to train on, 80 to choose with, 80 to measure", "2 classes"]

    def fingerprint(self):
        return hashlib.sha256(self.train.x.numpy().tobytes() + self.train.y.numpy().tobytes()).hexdigest()


class ToyTask:
    kind = "toy"
    primary = "accuracy"
    default_model = "linear"
    lower_is_better = ("error",)
    bundled = {"points": "240 points of two classes"}  # noqa: RUF012

    def load_data(self, spec, noise=0.3, shift=0, untested=""):
        if spec != "points":
            raise CounterpointError(f"there is no data set '{spec}'; known: points")
        return Points(float(noise), int(shift))

    def load_model(self, spec, data, seed):
        model = nn.Linear(4, 1)
        if spec == "linear":
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                model.weight.normal_(generator=generator)
        elif (Path(spec) / "model.safetensors").exists():
            model.load_state_dict(load_file(Path(spec) / "model.safetensors"))
        else:
            raise CounterpointError(f"'{spec}' is no model; give linear or a folder with model.safetensors")
        return model

    def save_model(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"inputs": 4}))

    def evaluate(self, model, data, split, seed=0):
        rows = {"validation": data.validation, "test": data.test}[split]
        with torch.no_grad():
            right = ((model(rows.x).squeeze(1) > 0).float() == rows.y).float().mean().item()
        return {"accuracy": right, "error": 1 - right}


TASK = ToyTask()


def weight_norm(model, data, split, seed, report):
    return {"weight_norm": float(model.weight.detach().norm())}


def examples_seen(model, data, split, seed, report):
    """A figure only of methods that report what they saw."""
    seen = report.rows("seen")
    return {"seen": float(sum(row["examples"] for row in seen))} if seen else {}
