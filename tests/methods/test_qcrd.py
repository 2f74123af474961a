"""QCRD and distilling step-by-step: teachers of three kinds, causal and encoder-decoder students, own files, resumption."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))
from fake_server import serving, url

from counterpoint.cli.main import app
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.data.language.problems import load as load_problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.samplers import Source
from counterpoint.judges.majority import by_vote
from counterpoint.methods.base import Method
from counterpoint.methods.baselines.step_by_step import StepByStep
from counterpoint.methods.qcrd import QCRD, Judging, Negatives
from counterpoint.models.language.characters import tiny, tiny_encoder_decoder
from counterpoint.models.language.encoder_decoder import EncoderDecoder, load
from counterpoint.models.language.language import Language
from counterpoint.models.language.rationale_judge import RationaleJudge
from counterpoint.pairs.rationales import Recent, spoilt
from counterpoint.phases.rationales import Rationales, entropies
from counterpoint.training import Run

SMALL: dict[str, Any] = {"batch_size": 8, "epochs": 3.0, "learning_rate": 1e-3, "max_new_tokens": 6}
SPEC = "second-largest?size=20&digits=3&validation=6&test=6"
STUDENTS = {"causal": lambda: tiny(seed=0), "encoder-decoder": lambda: tiny_encoder_decoder(seed=0)}


def small(**given: Any) -> QCRD:
    return QCRD(**{**SMALL, "negatives": Negatives(back=1), "judge": Judging(steps=4), **given})


def fit(
    method: Method[Any, Any], out: Path, model: Language, data: ProblemData | None = None
) -> tuple[Any, Any, list[dict[str, Any]]]:
    with Run(out, seed=0, progress=False, audit=True) as run:
        trained = method.fit(model, data or load_problems(SPEC), run)
    return (
        trained,
        run.reported,
        [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()],
    )


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("student", STUDENTS)
def test_every_term_learns_and_figures_are_reported(student: str, tmp_path: Path) -> None:
    before = weights(STUDENTS[student]())
    model, reported, events = fit(small(epochs=6.0), tmp_path / "run", STUDENTS[student]())
    assert not torch.equal(weights(model), before)
    steps = [event for event in events if "loss/predict" in event]
    assert steps[-1]["loss/predict"] < steps[0]["loss/predict"]
    assert {"positive_entropy", "negative_entropy", "judge_auc"} <= set(reported.figures)
    own = sorted((tmp_path / "run" / "stages").rglob("*own*"))
    assert own, "the student's own rationales are a durable stage"


def test_the_judges_weight_decays_over_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    step = Run.step

    def watched(run: Run, losses: Any, **options: Any) -> Any:
        if "judge" in losses:
            given.append(losses["judge"].weight)
        return step(run, losses, **options)

    monkeypatch.setattr(Run, "step", watched)
    fit(small(judge=Judging(steps=2, weight=0.5, decay=0.25)), tmp_path / "run", tiny(seed=0))
    assert given[-9:] == [0.5] * 3 + [0.125] * 3 + [0.03125] * 3  # three batches an epoch


def test_a_negative_of_the_student_is_the_one_written_back_epochs_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[list[str]]] = {}
    method = small(
        negatives=Negatives(back=2, minority=False), judge=Judging(weight=0.0), epochs=4.0, batch_size=20
    )
    written: dict[int, list[str]] = {}
    own = QCRD._own

    def sample(self: QCRD, model: Any, problems: Any, run: Any, epoch: int) -> list[str]:
        written[epoch] = own(self, model, problems, run, epoch)
        return written[epoch]

    def look(model: Any, prompts: Any, texts: Any, run: Any) -> torch.Tensor:
        seen.setdefault(len(seen), [list(row) for row in texts])
        return entropies(model, prompts, texts, run)

    monkeypatch.setattr(QCRD, "_own", sample)
    monkeypatch.setattr("counterpoint.methods.qcrd.entropies", look)
    fit(method, tmp_path / "run", tiny(seed=0))
    negatives = [
        seen[2 * step + 1] for step in range(4)
    ]  # positives and negatives of four steps, one an epoch
    assert all(not row for epoch in (0, 1) for row in negatives[epoch])
    for epoch in (2, 3):
        assert sorted(row[0] for row in negatives[epoch] if row) == sorted(
            text for text in written[epoch - 2] if text.strip()
        )


def test_without_anything_bad_it_is_step_by_step_on_the_likeliest(tmp_path: Path) -> None:
    data = load_problems(SPEC)
    once = [replace(row, meta={"rationales": row.meta["rationales"][:1]}) for row in data.train]
    data = replace(data, train=Problems(once, "number"))
    mine, _, _ = fit(
        small(negatives=Negatives(beta=0.0), judge=Judging(weight=0.0), predict_weight=1.0, contrast_weight=1.0),
        tmp_path / "a", tiny(seed=0), data,
    )  # fmt: skip
    other, _, _ = fit(
        StepByStep(batch_size=8, epochs=3.0, learning_rate=1e-3), tmp_path / "b", tiny(seed=0), data
    )
    # The loops have different names, so the orders of the rows differ; the first epoch's loss over all rows does not.
    assert weights(mine).shape == weights(other).shape
    single = replace(data, train=Problems(once[:1], "number"))
    mine, _, _ = fit(
        small(negatives=Negatives(beta=0.0), judge=Judging(weight=0.0), predict_weight=1.0, contrast_weight=1.0),
        tmp_path / "c", tiny(seed=0), single,
    )  # fmt: skip
    other, _, _ = fit(
        StepByStep(batch_size=8, epochs=3.0, learning_rate=1e-3), tmp_path / "d", tiny(seed=0), single
    )
    torch.testing.assert_close(weights(mine), weights(other), rtol=1e-4, atol=1e-6)


@pytest.fixture
def fake() -> Iterator[Any]:
    with serving() as server:
        yield server


def bare() -> ProblemData:
    data = load_problems(SPEC)
    return replace(data, train=Problems([replace(row, meta={}) for row in data.train], "number"))


def test_a_teacher_behind_a_server_is_asked_once(fake: Any, tmp_path: Path) -> None:
    source = Source(kind="server", url=url(fake), model="m")
    method = small(sampler=source, teacher=Rationales(samples=3, max_new_tokens=8))
    fit(method, tmp_path / "run", tiny(seed=0), bare())
    assert len(fake.seen) == 20 * 3
    assert "Think step by step" in json.dumps(fake.seen[0]["messages"])
    assert {body["temperature"] for body in fake.seen} == {0.7}
    with Run(tmp_path / "run", seed=0, progress=False) as run:
        method.fit(tiny(seed=0), bare(), run)
    assert len(fake.seen) == 20 * 3, "what was written is read from the run's folder"


@pytest.mark.parametrize("student", STUDENTS)
def test_a_local_teacher(student: str, tmp_path: Path) -> None:
    tiny(seed=5).save(tmp_path / "teacher")
    teacher = Rationales(model=str(tmp_path / "teacher"), samples=2, max_new_tokens=6)
    fit(StepByStep(teacher=teacher, batch_size=8, epochs=1.0), tmp_path / "run", STUDENTS[student](), bare())
    assert list((tmp_path / "run" / "stages").rglob("*rationales*"))


def own_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def own_rows() -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{n}+1=", "answer": str(n + 1),
            "rationales": [f"so {n + 1} #### {n + 1}", f"well #### {n + 1}", f"hm #### {n + 2}"],
        }
        for n in range(24)
    ]  # fmt: skip


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("key", ["qcrd", "step-by-step"])
def test_from_the_command_line_on_own_files(
    key: str, student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_file(tmp_path / "problems.jsonl", own_rows())
    STUDENTS[student]().save("student")
    given = ["--max-new-tokens", "6", "--judge.steps", "3", "--negatives.back", "1"] if key == "qcrd" else []
    result = CliRunner().invoke(
        app,
        [
            "run",
            key,
            "--data",
            "problems.jsonl",
            "--model",
            "student",
            "--out",
            "out",
            "--epochs",
            "2",
            *given,
        ],
    )
    assert result.exit_code == 0, result.output
    assert isinstance(load("out/model"), EncoderDecoder) == (student == "encoder-decoder")
    assert "accuracy" in json.loads(Path("out/result.json").read_text())["metrics"]["test"]


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


WRONG: dict[str, tuple[list[dict[str, Any]], list[str], str]] = {
    "nobody": ([without(row, "rationales") for row in own_rows()], [], "nobody writes rationales"),
    "some": (
        [row if n % 2 else without(row, "rationales") for n, row in enumerate(own_rows())],
        [],
        "have no rationales, first",
    ),
    "both": (own_rows(), ["--teacher.model", "student"], "leave one of them out"),
    "text": ([{**row, "rationales": "so 4"} for row in own_rows()], [], "must be a list of texts"),
    "empty": ([{**row, "rationales": [" "]} for row in own_rows()], [], "must be a list of texts"),
    "answers": ([without(row, "answer") for row in own_rows()], [], "needs an answer for every problem"),
    "template": (own_rows(), ["--explain", "why?"], "has no field {prompt}"),
    "margin": (own_rows(), ["--negatives.margin", "0"], "negatives.margin=0.0"),
    "back": (own_rows(), ["--negatives.back", "0"], "negatives.back=0"),
    "teacher": (
        [without(row, "rationales") for row in own_rows()],
        ["--teacher.model", "nowhere"],
        "nowhere",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_message_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, given, message = WRONG[name]
    own_file(tmp_path / "problems.jsonl", rows)
    tiny(seed=0).save("student")
    result = CliRunner().invoke(
        app, ["run", "qcrd", "--data", "problems.jsonl", "--model", "student", "--out", "out", *given]
    )
    assert result.exit_code != 0
    assert message in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output
    assert not Path("out").exists()


def test_voted_labels_need_no_answers(tmp_path: Path) -> None:
    data = load_problems(SPEC)
    data = replace(
        data, train=Problems([replace(row, answer="", solution="") for row in data.train], "number")
    )
    fit(small(labels="voted", judge=Judging(weight=0.0)), tmp_path / "run", tiny(seed=0), data)
    with pytest.raises(CounterpointError, match="labels=voted"):
        fit(small(), tmp_path / "other", tiny(seed=0), data)


def test_the_fingerprint_knows_the_rationales() -> None:
    data = load_problems(SPEC)
    assert data.fingerprint() != load_problems(SPEC + "&wrong=0.9").fingerprint()
    assert data.fingerprint() != bare().fingerprint()


@pytest.mark.parametrize("student", STUDENTS)
def test_a_judge_learns_to_know_good_from_bad(student: str) -> None:
    model = STUDENTS[student]()
    judge, (prompts, texts) = (
        RationaleJudge(model),
        model.rows(["3 1 2"] * 4, ["3 2 1", "3 1 2", "3 2 1", "2 3 1"]),
    )
    wanted = torch.tensor([1.0, 0.0, 1.0, 0.0])
    optimizer = torch.optim.Adam([w for w in judge.parameters() if w.requires_grad], lr=1e-3)
    untouched = [w.clone() for w in judge.body.parameters() if not w.requires_grad]
    for _ in range(200):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(judge(prompts, texts), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (judge(prompts, texts).sigmoid().round() == wanted).all()
    for one, other in zip(untouched, [w for w in judge.body.parameters() if not w.requires_grad]):
        assert torch.equal(one, other)
    assert torch.equal(weights(model), weights(STUDENTS[student]())), (
        "the student's own weights are not touched"
    )


def test_a_judge_does_not_see_padding() -> None:
    for student in STUDENTS.values():
        model = student().eval()
        judge = RationaleJudge(model).eval()
        prompts, texts = model.rows(["1+1=", "20+20="], ["2", "so it is 40"])
        alone = judge(*model.rows(["1+1="], ["2"]))
        torch.testing.assert_close(judge(prompts, texts)[:1], alone, rtol=1e-4, atol=1e-5)


def test_votes() -> None:
    assert by_vote([]).positive == ()
    assert by_vote([" ", ""]).answer == ""
    tied = by_vote(["a #### 1", "b #### 2"])
    assert tied.positive == ("a #### 1",)
    assert tied.negative == ("b #### 2",)


def test_spoilt_words_and_what_was_written_long_ago() -> None:
    for text in ("one", "one two", "a b c d e f g h"):
        for draw in (0.0, 0.3, 0.7, 1.5):
            assert spoilt(text, ["x y", text], draw) != text
            assert spoilt(text, ["x y", text], draw) == spoilt(text, ["x y", text], draw)
    recent, again = Recent(3), Recent(3)
    for epoch in range(9):
        recent.add(epoch, [str(epoch)])
        assert recent.of(epoch) == (None if epoch < 3 else [str(epoch - 3)])
    again.load_state_dict(json.loads(json.dumps(recent.state_dict())))
    assert again.of(8) == ["5"]
    assert again.latest == 8
    assert len(again.state_dict()["texts"]) <= 4


def test_problem_without_rationales_has_no_meta() -> None:
    assert Problem("1+1=").meta == {}
