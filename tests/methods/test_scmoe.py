"""SCMoE, contrastive decoding and DoLa as methods: on a person's own files, from Python and the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.language.problems import load as load_problems
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.language import greedy_accuracy
from counterpoint.evaluation.routing import token_gaps
from counterpoint.generation.contrasted import Contrasted, load
from counterpoint.generation.sampler import Sampler
from counterpoint.methods.base import Method
from counterpoint.methods.baselines.contrastive_decoding import ContrastiveDecoding
from counterpoint.methods.baselines.dola import DoLa
from counterpoint.methods.scmoe import SCMoE
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.experts import Routing
from counterpoint.models.language.find_routers import routers
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.mixture import ALPHABET, experts
from counterpoint.training import Run


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A mixture, an amateur, and problems of one's own."""
    experts(0, width=32, layers=3, num_experts=4).save(tmp_path / "moe")
    tiny(seed=1, layers=1, length=128, alphabet=ALPHABET).save(tmp_path / "amateur")
    tiny(seed=1, layers=1, length=128).save(tmp_path / "letters")
    rows = [{"prompt": f"{n}+1=", "completion": f"{n},{n + 1}", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def fit(method: Method[Any, Any], own: Path, model: str = "moe") -> tuple[Language, Any]:
    with Run(own / "run", seed=0, progress=False, audit=True) as run:
        made = method.fit(load(own / model), load_problems(own / "problems.jsonl"), run)
        return made, run.reported


def decoded(model: Language) -> list[list[int]]:
    return Sampler(max_new_tokens=6, temperature=0)(model, model.prompts(["12+1=", "7+1="])).rows()


def test_the_strong_pass_alone_is_the_model(own: Path) -> None:
    made, _ = fit(SCMoE(beta=0.0), own)
    assert decoded(made) == decoded(load(own / "moe"))


def test_the_gap_is_measured_on_the_references(own: Path) -> None:
    made, reported = fit(SCMoE(), own)
    assert isinstance(made, Contrasted)
    plain = load(own / "moe").eval()
    data, found = load_problems(own / "problems.jsonl"), routers(plain)
    total, count = 0.0, 0
    for row in data.train:
        both = plain.prompts([row.prompt]).ids, plain.completions([row.reference]).ids
        ids = torch.cat(both, 1)
        logits = []
        for routing in ("own", "rank-2"):
            with found.use(Routing.of(routing)), torch.no_grad():
                logits.append(plain.base(ids).logits[0, both[0].shape[1] - 1 : -1].log_softmax(-1))
        total += float((logits[0].exp() * (logits[0] - logits[1])).sum())
        count += both[1].shape[1]
    assert reported.figures["gap"] == pytest.approx(total / count, rel=1e-4, abs=1e-7)
    none, _ = token_gaps(plain, found, list(data.train), "own")
    assert none.abs().max() < 1e-6


@pytest.mark.parametrize(
    "method", [SCMoE(strong="top-3", weak="random-1"), DoLa(layers="1,2"), DoLa(layers="high"), ContrastiveDecoding(amateur="{}")]
)  # fmt: skip
def test_the_returned_model_is_a_language_model(method: Any, own: Path) -> None:
    if isinstance(method, ContrastiveDecoding):
        method = ContrastiveDecoding(amateur=str(own / "amateur"))
    made, _ = fit(method, own)
    assert isinstance(made, Contrasted)
    assert 0 <= greedy_accuracy(made, load_problems(own / "problems.jsonl").train)["accuracy"] <= 1
    prompts = made.prompts(["1+1="])
    assert made.generate(prompts.ids, prompts.mask, max_new_tokens=2).shape[1] <= prompts.width + 2


COMMANDS = {
    "scmoe": ["--weak", "rank-3", "--beta", "0.3"],
    "dola": ["--layers", "1"],
    "contrastive-decoding": ["--amateur", "amateur"],
}


@pytest.mark.parametrize("key", COMMANDS)
def test_from_the_command_line_on_own_files(key: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    given = ["run", key, "--data", "problems.jsonl", "--model", "moe", "--out", "out", *COMMANDS[key]]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    shutil.rmtree("amateur")  # what is needed is in the folder
    made = load("out/model")
    assert isinstance(made, Contrasted)
    assert decoded(made.eval())
    figures = json.loads(Path("out/result.json").read_text())["metrics"]["test"]
    assert figures["accuracy"] == greedy_accuracy(made, load_problems("problems.jsonl").test)["accuracy"]


WRONG = {
    "dense": ("scmoe", ["--model", "amateur"], "has no experts"),
    "rank": ("scmoe", ["--weak", "rank-9"], "a layer has 4 experts"),
    "routing": ("scmoe", ["--weak", "second"], "expected own, top-K"),
    "itself": ("scmoe", ["--weak", "own"], "would contrast the model with itself"),
    "alpha": ("scmoe", ["--alpha", "0"], "expected 0 < alpha <= 1"),
    "no amateur": ("contrastive-decoding", [], "no amateur to contrast with"),
    "no such amateur": ("contrastive-decoding", ["--amateur", "nowhere"], "nowhere"),
    "vocabulary": ("contrastive-decoding", ["--amateur", "letters"], "vocabular"),
    "layer": ("dola", ["--layers", "7"], "has 3 layers"),
    "layers": ("dola", ["--layers", "middle"], "expected low, high, or numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_message_and_leaves_nothing(
    name: str, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    key, given, message = WRONG[name]
    model = [] if "--model" in given else ["--model", "moe"]
    result = CliRunner().invoke(app, ["run", key, "--data", "problems.jsonl", *model, "--out", "out", *given])
    assert result.exit_code != 0
    assert message in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output
    assert not Path("out").exists()


def test_layers_that_cannot_be_seen_are_refused(own: Path) -> None:
    made = load(own / "moe")
    made.base.model.blocks = made.base.model._modules.pop("layers")
    with (
        Run(own / "run", seed=0, progress=False) as run,
        pytest.raises(CounterpointError, match="no plain list of layers"),
    ):
        DoLa().fit(made, load_problems(own / "problems.jsonl"), run)
