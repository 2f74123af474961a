"""Train the method that restyles pictures for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.data.styles.digits import load_restyled_digits
from counterpoint.methods.catalog import load
from counterpoint.tasks.styles import TASK
from ranks_harness import Weights, report, short_run

EDITORS = Path(__file__).parents[1] / "generation" / "own_editors.py"
METHODS = {
    "separate": ("stydeco", {"weights.decoupling": 0.1}),
    "shared": ("stydeco", {"text.adapters": "shared"}),
    "with a prior": ("stydeco", {"prior.editor": f"{EDITORS}:paint"}),
    "a rank without a row": ("stydeco", {"batch_size": 29}),
}
SHARED = {
    "batch_size": 7, "learning_rate": 1e-3, "text.rank": 2, "weights.cycle_perceptual": 0.0, "weights.identity_perceptual": 0.0,
}  # fmt: skip


def train(out: Path) -> dict[str, Weights]:
    data = load_restyled_digits(limit=60, evaluation_limit=20)
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=5) as run:
            model = TASK.load_model("restyler-small", data, 1)
            trained = load(key).settings(**{**SHARED, **settings}).fit(model, data, run)
        grid = trained.grids["before_and_after_styled"].float() / 255
        result[name] = {**{key: value for key, value in trained.state_dict().items()}, "grid": grid}
    return result


if __name__ == "__main__":
    report(train)
