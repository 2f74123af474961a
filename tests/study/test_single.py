"""One run: finished once, resumed bit for bit, refused in another run's folder, nothing half-written."""

import fcntl
import io
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from toy_methods import Logistic

from counterpoint.errors import CounterpointError
from counterpoint.study import single
from counterpoint.study.recipe import GIVEN, Recipe
from counterpoint.study.report.run import section as run_section
from counterpoint.study.single import execute, resume
from counterpoint.study.store import Result
from counterpoint.training import Interrupted


def test_a_run_leaves_a_plain_model_a_card_and_a_result(recipe, tmp_path):
    result = execute(recipe(before=True), tmp_path / "run", progress=False)
    assert {p.name for p in (tmp_path / "run" / "model").iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    assert result.metrics["test"]["accuracy"] > 0.7
    assert result.before["test"].keys() == result.metrics["test"].keys()
    assert result.spent["steps"] == 12
    assert result.spent["examples"] == 12 * 16
    assert result.cost["wall_seconds"] > 0
    assert result.cost["peak_rss_bytes"] > 2**20
    assert result.cost["unfinished_sessions"] == 0
    assert Result.read(tmp_path / "run") == result
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "Logistic regression on points" in card
    assert f"{result.metrics['test']['accuracy']:.4f}" in card
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_folder_that_another_process_holds_is_left_as_it_is(recipe, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with (out / ".lock").open(
        "w"
    ) as held:  # another one that began at the same moment, and has saved nothing yet
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CounterpointError, match=f"another process is running in {out}"):
            execute(recipe(), out, progress=False)
        assert (out / ".lock").exists()
        assert (out / "run.json").exists()


def test_fewer_rows_than_a_full_batch_are_refused_before_anything_is_measured(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(Logistic, "full_batches", True)
    monkeypatch.setattr(single, "figures_before", lambda *_: pytest.fail("measured"))
    rows = len(recipe().build_task().load_data("points").train)
    with pytest.raises(
        CounterpointError, match=f"the {rows} training rows are fewer.*give --batch-size"
    ) as refused:
        execute(recipe(Logistic(batch_size=rows + 1), before=True), tmp_path / "run", progress=False)
    assert 2 <= int(str(refused.value).split("--batch-size ")[1].split(",")[0]) <= rows
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_read_and_not_run_again(recipe, tmp_path, monkeypatch):
    first = execute(recipe(), tmp_path / "run", progress=False)
    monkeypatch.setattr(Logistic, "fit", lambda *_: pytest.fail("fitted again"))
    assert execute(recipe(), tmp_path / "run", progress=False) == first
    assert resume(tmp_path / "run") == first


def test_stopped_by_a_signal_and_resumed_it_ends_in_the_same_bits(recipe, tmp_path, monkeypatch):
    whole = execute(recipe(), tmp_path / "whole", progress=False)
    monkeypatch.setenv("TOY_STOP_AT", "5")
    with pytest.raises(Interrupted) as stop:
        execute(recipe(), tmp_path / "cut", progress=False)
    assert stop.value.code == 143
    assert not (tmp_path / "cut" / "model").exists()
    again = resume(tmp_path / "cut", progress=False)
    assert again.metrics == whole.metrics
    assert again.cost["sessions"] == 2
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_ctrl_c_while_measuring_saves_and_stops(recipe, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("toy_task.ToyTask.evaluate", stop)
        execute(recipe(), tmp_path / "run", progress=False)
    checkpoints = list((tmp_path / "run" / "checkpoints").iterdir())
    assert [c.name for c in checkpoints] == ["step-000000012"]
    assert resume(tmp_path / "run", progress=False).metrics["test"]["accuracy"] > 0.7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
        ({"budget": {"steps": 13}}, "budget.steps: 12 there, 13 asked for"),
        ({"method": Logistic(learning_rate=0.2)}, "settings.learning_rate: 0.5 there, 0.2 asked for"),
        ({"data_options": {"shift": 3}}, "data_fingerprint"),
    ],
)
def test_the_folder_of_another_run_is_refused(recipe, tmp_path, change, named):
    execute(recipe(), tmp_path / "run", progress=False)
    kept = (tmp_path / "run" / "result.json").read_bytes()
    with pytest.raises(CounterpointError, match=named):
        execute(recipe(**change), tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "result.json").read_bytes() == kept


def test_micro_batches_may_change_between_sessions(recipe, tmp_path):
    first = execute(recipe(), tmp_path / "run", progress=False)
    assert execute(recipe(micro_batch_size=4), tmp_path / "run", progress=False) == first


def test_a_folder_with_other_things_is_refused_and_left_alone(recipe, tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(CounterpointError, match="empty or new --out"):
        execute(recipe(), tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": "pionts"},
        {"model": "no-such-folder"},
        {"method": Logistic(hint=12.0)},
        {"budget": {"steps": 0}},
    ],
)
def test_an_error_at_the_start_leaves_nothing(recipe, tmp_path, wrong):
    with pytest.raises(CounterpointError):
        execute(recipe(**wrong), tmp_path / "deep" / "run", progress=False)
    assert not (tmp_path / "deep" / "run").exists()


def test_a_full_disk_leaves_no_half_written_model(recipe, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(CounterpointError, match="no space left"):
        patch.setattr("toy_task.ToyTask.save_model", full)
        execute(recipe(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "model").exists()


def test_model_and_data_handed_over_as_objects(recipe, tmp_path):
    from toy_task import Points

    model = torch.nn.Linear(4, 1)
    before = model.weight.clone()
    mine = recipe(data=GIVEN, model=GIVEN, model_given=single.weights_digest(model))
    result = execute(mine, tmp_path / "run", data=Points(1.0, 7), model=model, progress=False)
    assert torch.equal(model.weight, before), "the caller's model must not change"
    assert result.metrics["test"]["accuracy"] > 0.6
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(CounterpointError, match="same counterpoint.run"):
        resume(tmp_path / "run")


def test_case_metrics_are_added(recipe, tmp_path):
    result = execute(recipe(measure="toy_task:weight_norm"), tmp_path / "run", progress=False)
    assert result.metrics["test"]["weight_norm"] > 0.1


def test_a_recipe_survives_json(recipe):
    mine = recipe(method=Logistic(learning_rate=0.3, mode="sharp"), splits=("validation", "test"))
    again = Recipe.from_dict(json.loads(json.dumps(mine.as_dict())))
    assert again.build_method() == Logistic(learning_rate=0.3, mode="sharp")
    assert again.as_dict() == mine.as_dict()


def test_figures_of_another_measurement_have_another_name_before_training(recipe, tmp_path, monkeypatch):
    from toy_task import ToyTask

    from counterpoint.cli.tables import result_table
    from counterpoint.evaluation.measurement import Measurement

    trained = []

    def applies(model, data):
        trained.append(model)
        return len(trained) == 1

    probe = Measurement(applies=applies, measure=lambda subject: {}, through={"accuracy": "probe"})
    monkeypatch.setattr(ToyTask, "measurements", (probe,), raising=False)
    result = execute(recipe(before=True), tmp_path / "run")
    assert set(result.before["test"]) == {"probe_accuracy", "error"}
    assert set(result.metrics["test"]) == {"accuracy", "error"}
    assert Result.read(tmp_path / "run").before == result.before
    screen = Console(width=100, file=io.StringIO())
    result_table(screen, result)
    rows = {line.split()[0]: line.split() for line in screen.file.getvalue().splitlines() if line.split()}
    assert len(rows["accuracy"]) == 3  # no figure before, and no change
    assert rows["accuracy"][1] == "–"
    assert len(rows["error"]) == 4
    assert rows["probe_accuracy"][2] == "–"
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| test | accuracy |  | " in card
    assert f"| test | probe_accuracy | {result.before['test']['probe_accuracy']:.4f} |  |" in card
    page = run_section(result, "s0")[1]
    assert "measured before training only" in page


def test_texts_and_audio_say_what_a_probe_measured():
    from types import SimpleNamespace

    import torch

    from counterpoint.models.text.encoder import TextClassifier
    from counterpoint.tasks.task import measured_by, task

    labels = SimpleNamespace(train=SimpleNamespace(labelled=torch.tensor([True])))
    names = SimpleNamespace(train=SimpleNamespace(labelled=torch.tensor([False])))
    classifier = TextClassifier.__new__(TextClassifier)
    assert measured_by(task("text"), torch.nn.Identity(), labels)["accuracy"] == "probe"
    assert measured_by(task("text"), torch.nn.Identity(), names)["accuracy"] == "names"
    assert measured_by(task("text"), classifier, labels) == {}
    assert measured_by(task("audio"), torch.nn.Identity(), None)["macro_f1"] == "probe"
    assert measured_by(task("images"), torch.nn.Identity(), None) == {}


def test_what_a_method_refuses_is_said_before_anything_is_measured(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(single, "figures_before", lambda *_: pytest.fail("measured"))
    with pytest.raises(CounterpointError, match="80 points take no such hint"):
        execute(recipe(method=Logistic(hint=99.0), before=True), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
