"""SPECS on questions about images: pairs keep their picture, a whole step by a loop, the curve of the form, hand-over to GRPO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import logsigmoid
from typer.testing import CliRunner

import small_llava
from counterpoint.cli.main import app
from counterpoint.conversation import pictures_of, turns
from counterpoint.data.language.problems import load
from counterpoint.data.language.tagged import Tags
from counterpoint.methods.specs import SPECS
from counterpoint.models.language import language
from counterpoint.training import Run

FORM = "Reason in <a>, answer in <b>."
SOLVER = """
def solve(prompts):  # what is shown is not seen here: the colour is known by the question's first letter
    names = {"r": "red", "g": "green", "b": "blue", "y": "grey"}
    return [f"<a>a {names[p[0]]} one</a><b>{names[p[0]]}</b>" for p in prompts]
"""
COLOURS = {"red": (220, 10, 10), "green": (10, 220, 10), "blue": (10, 10, 220), "grey": (120, 120, 120)}
BETA, RATE = 0.1, 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictured")
    small_llava.write(out / "model")
    rows = []
    for letter, (name, colour) in zip("rgby", COLOURS.items()):
        Image.new("RGB", (40, 30), colour).save(out / f"{name}.png")
        rows.append({"prompt": f"{letter}? {FORM}", "images": [f"{name}.png"], "answer": name})
    for split in ("train", "validation"):
        (out / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (out / "solver.py").write_text(SOLVER)
    return out


def fit(folder: Path, out: Path, **settings: Any) -> Any:
    given = {
        "tags": "a b", "answers": 1, "rejected_from": "chosen", "batch_size": 4, "learning_rate": RATE, "beta": BETA,
        "source.author": f"{folder / 'solver.py'}:solve", "source.max_new_tokens": 4, "optimizer.name": "sgd",
        "optimizer.momentum": 0.0, "optimizer.max_grad_norm": None, **settings,
    }  # fmt: skip
    data = load(folder / "train.jsonl", validation=0, test=0)
    if "watch.every" in given:
        data = load(folder, test=0)
    with Run(out, seed=0, progress=False, audit=True) as run:
        return SPECS.settings(**given).fit(language.load(folder / "model"), data, run), run, data


def test_a_step_is_the_loss_of_pairs_with_their_pictures(folder: Path, tmp_path: Path) -> None:
    model, _, data = fit(folder, tmp_path / "run")
    start = language.load(folder / "model").eval()
    assert start.pictures is not None
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    pictures = {row.question: pictures_of(turns(row.prompt))[0]["image"] for row in data.train}
    assert len(samples) == 4
    loss = torch.zeros(())
    for row in samples:  # one answer at a time, through the model's own forward
        sums = []
        for answer in row["answers"]:
            made = start.pictures.processor(
                text=[f"<s><image>{row['prompt']}~{answer['text']}</s>"],
                images=[Image.open(pictures[row["prompt"]])],
                return_tensors="pt",
                add_special_tokens=False,
            )
            log_probs, ids = start.causal(**made).logits[0].log_softmax(-1), made["input_ids"][0]
            own = range(len(ids) - len(answer["text"]) - 1, len(ids))
            sums.append((sum(log_probs[at - 1, ids[at]] for at in own), len(own)))
        (chosen, length), (rejected, _) = sums
        margin = BETA * ((chosen - chosen.detach()) - (rejected - rejected.detach()))  # type: ignore[union-attr]
        loss = loss - (logsigmoid(margin) + chosen / length) / 4
    loss.backward()
    moved = {"vision_tower": 0, "language_model": 0}
    for (name, now), before in zip(model.named_parameters(), start.parameters(), strict=True):
        gradient = torch.zeros_like(before) if before.grad is None else before.grad
        torch.testing.assert_close(now, before - RATE * gradient, atol=2e-6, rtol=1e-4)
        for part in moved:
            moved[part] += part in name and bool(gradient.any())
    assert all(count > 5 for count in moved.values()), moved


def test_the_form_is_measured_on_prompts_with_their_pictures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    whole = language.Language.prompts

    def prompts(self: Any, texts: Any, **given: Any) -> Any:
        seen.extend(
            f"{len(pictures_of(turns(text)))} {turns(text)[-1]['content'][-1]['text']}" for text in texts
        )
        return whole(self, texts, **given)

    monkeypatch.setattr(language.Language, "prompts", prompts)
    _, run, _ = fit(folder, tmp_path / "run", **{"watch.every": 1, "watch.others": "c d"})
    assert [row["step"] for row in run.reported.rows("form")] == [0, 1]
    renamed = [text for text in seen if "<c>" in text and "<d>" in text]
    assert len(renamed) == 8, "four prompts, before and after"
    assert all(text.startswith("1 ") for text in renamed)


def test_grpo_goes_on_with_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    common = [
        "--data",
        str(folder / "train.jsonl"),
        "--no-evaluate",
        "--data-option",
        "validation=0",
        "--data-option",
        "test=0",
    ]
    cold = [
        "run",
        "specs",
        *common,
        "--model",
        str(folder / "model"),
        "--out",
        str(tmp_path / "cold"),
        "--tags",
        "a b",
    ]
    cold += ["--source", f"{folder / 'solver.py'}:solve", "--rejected-from", "chosen", "--answers", "1"]
    result = CliRunner().invoke(app, [*cold, "--source.max-new-tokens", "4"])
    assert result.exit_code == 0, result.output
    hot = [
        "run",
        "grpo",
        *common,
        "--model",
        str(tmp_path / "cold" / "model"),
        "--out",
        str(tmp_path / "hot"),
    ]
    hot += [
        "--judge",
        f"verifier + 0.5*format:{Tags('a', 'b').pattern}",
        "--answers",
        "2",
        "--max-new-tokens",
        "4",
    ]
    result = CliRunner().invoke(app, [*hot, "--batch-size", "4", "--lora-rank", "0"])
    assert result.exit_code == 0, result.output
    assert language.load(tmp_path / "hot" / "model").pictures is not None
