"""The four graph recommenders: they learn, say what they need, resume to the same bits, and survive a save."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from counterpoint.data.interactions.load import Interactions
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.recommendation import evaluate_recommender
from counterpoint.methods.catalog import load
from counterpoint.models.interactions.export import export_embeddings
from counterpoint.models.interactions.recommender import (
    Recommender,
    load_recommender,
    recommend_items,
)
from counterpoint.training import Run
from interaction_clusters import clusters

KEYS = ["xsimgcl", "simgcl", "sgl", "lightgcn"]
SMALL: dict[str, Any] = {"batch_size": 64, "learning_rate": 0.01, "epochs": 6}


class Killed(Exception):
    pass


def train(
    key: str, data: Interactions, out: Path, kill_at: int | None = None, **settings: Any
) -> Recommender:
    method = load(key).settings(**{**SMALL, **settings})
    with Run(out, seed=1, progress=False, checkpoint_steps=4, audit=True) as run:
        step, count = run.step, iter(range(10**6))

        def counted(losses: Any, **options: Any) -> float:
            if next(count) == kill_at:
                raise Killed
            return step(losses, **options)

        run.step = counted  # type: ignore[method-assign]
        return method.fit(Recommender.for_data(data, dimension=16, seed=1), data, run)  # type: ignore[return-value]


def weights(model: Recommender) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("key", KEYS)
def test_training_finds_the_groups(key: str, tmp_path: Path) -> None:
    data = clusters(tmp_path)
    fresh = evaluate_recommender(Recommender.for_data(data, dimension=16, seed=1), data, "test")
    settings = {} if key == "lightgcn" else {"contrast": 0.05}
    trained = evaluate_recommender(train(key, data, tmp_path / "run", epochs=40, **settings), data, "test")
    assert trained["ndcg@10"] > max(1.5 * fresh["ndcg@10"], 0.25)


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("key", KEYS)
def test_a_killed_run_ends_with_the_same_bits(key: str, keep: str, tmp_path: Path) -> None:
    data = clusters(tmp_path)
    whole = weights(train(key, data, tmp_path / "whole", keep=keep))
    for kill_at in (2, 9, 17):
        out = tmp_path / f"killed-{kill_at}"
        with pytest.raises(Killed):
            train(key, data, out, kill_at=kill_at, keep=keep)
        assert same_bits(weights(train(key, data, out, keep=keep)), whole)


def test_best_is_the_epoch_that_did_best_on_validation(tmp_path: Path) -> None:
    data = clusters(tmp_path)
    scores = [
        evaluate_recommender(train("lightgcn", data, tmp_path / f"{n}", epochs=n), data, "validation")[
            "ndcg@20"
        ]
        for n in range(1, 5)
    ]
    best = train("lightgcn", data, tmp_path / "best", epochs=4, keep="best")
    assert evaluate_recommender(best, data, "validation")["ndcg@20"] == max(scores)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
(Path(sys.argv[1]) / os.environ.get("RANK", "0")).mkdir(exist_ok=True)
from interaction_clusters import clusters
from counterpoint.methods.catalog import load
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.training import Run
folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
data = clusters(folder / os.environ.get("RANK", "0"))
run = Run(folder / "run", seed=1, progress=False, checkpoint_steps=3)
emit, count = run.events.emit, iter(range(10**6))
def killing(**values):
    if next(count) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    emit(**values)
run.events.emit = killing
model = load("xsimgcl").settings(batch_size=64, epochs=6, keep="best").fit(Recommender.for_data(data, dimension=16), data, run)
rank = run.rank
run.close()
if rank == 0:
    model.save_pretrained(folder / "model")
"""


@pytest.mark.slow
def test_sigkill_then_the_same_command_gives_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, kills in {"whole": [], "killed": [7, 4]}.items():
        (tmp_path / name).mkdir()
        for kill_at in [*kills, -1]:
            command = [sys.executable, str(script), str(tmp_path / name), str(kill_at)]
            code = subprocess.run(command, env=environment, check=False, timeout=120).returncode
            assert code == (0 if kill_at < 0 else -signal.SIGKILL)
    files = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed")]
    assert same_bits(*files)


def test_saved_folder_recommends_by_id_without_the_data(tmp_path: Path) -> None:
    data = clusters(tmp_path)
    model = train("xsimgcl", data, tmp_path / "run")
    model.save_pretrained(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {
        "model.safetensors",
        "config.json",
        "ids.json",
    }
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["layers"], config["first_layer"]) == (2, False)
    again = load_recommender(tmp_path / "model")
    assert same_bits(weights(again), weights(model))
    assert evaluate_recommender(again, data, "test") == evaluate_recommender(model, data, "test")
    user = data.users[3]
    best = recommend_items(tmp_path / "model", user, k=5)
    assert best == model.recommend(user, 5)
    met = {data.items[i] for u, i in zip(data.train.users.tolist(), data.train.items.tolist()) if u == 3}
    assert not met & {item for item, _ in best}
    scores = [score for _, score in best]
    assert scores == sorted(scores, reverse=True)
    assert len(model.recommend(user, 10**6)) == len(data.items) - len(met)
    assert best[0][0] not in {
        item for item, _ in model.recommend(user, 5, leave_out=[best[0][0], "unheard of"])
    }
    assert met <= {item for item, _ in model.recommend(user, 10**6, seen=True)}
    with pytest.raises(CounterpointError, match="knows no user 'u1000'.*did you mean 'u1"):
        model.recommend("u1000")
    with pytest.raises(CounterpointError, match="k=0"):
        model.recommend(user, 0)


def test_exported_embeddings_give_the_same_order(tmp_path: Path) -> None:
    data = clusters(tmp_path)
    model = Recommender.for_data(data, dimension=8, layers=1)
    model.save_pretrained(tmp_path / "model")
    export_embeddings(tmp_path / "model", tmp_path / "index")
    users, items = (np.load(tmp_path / "index" / f"{name}.npy") for name in ("users", "items"))
    ids = (tmp_path / "index" / "items.txt").read_text().splitlines()
    best = ids[int((items @ users[0]).argmax())]
    assert best == model.recommend(data.users[0], 1, seen=True)[0][0]
    (file,) = export_embeddings(tmp_path / "model", tmp_path / "x.safetensors")
    assert torch.equal(load_file(file)["items"], torch.from_numpy(items))
    with pytest.raises(CounterpointError, match=r"ends in \.safetensors"):
        export_embeddings(tmp_path / "model", tmp_path / "x.csv")


def test_wrong_folders_and_models_teach(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="no such folder"):
        load_recommender(tmp_path / "none")
    with pytest.raises(CounterpointError, match=r"no config\.json"):
        load_recommender(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CounterpointError, match=r"no model\.safetensors"):
        load_recommender(tmp_path)
    data, other = clusters(tmp_path), clusters(tmp_path, {"split_seed": 3})
    with pytest.raises(CounterpointError, match="fitted_to"):
        train("xsimgcl", other, tmp_path / "run").over(data)
    with pytest.raises(CounterpointError, match="contrast_layer=5"):
        train("xsimgcl", data, tmp_path / "run2", contrast_layer=5)
    with pytest.raises(CounterpointError, match="did you mean 'contrast'"):
        load("xsimgcl").settings(contrst=1)


def test_embeddings_carry_over_by_id(tmp_path: Path) -> None:
    old, new = clusters(tmp_path, users=20), clusters(tmp_path, users=40, seed=5)
    model = Recommender.for_data(old, dimension=8)
    carried = model.fitted_to(new, seed=9)
    assert carried.user_ids == new.users
    place, was = new.users.index("u5"), old.users.index("u5")
    assert torch.equal(carried.user_embeddings[place], model.user_embeddings[was])
    fresh = Recommender.for_data(new, dimension=8, seed=9)
    late = new.users.index("u35")
    assert torch.equal(carried.user_embeddings[late], fresh.user_embeddings[late])


def test_one_positive_per_batch_trains(tmp_path: Path) -> None:
    data = clusters(tmp_path, users=4, items=12, per_user=3)
    for key in KEYS:
        assert all(
            v.isfinite().all() for v in train(key, data, tmp_path / key, batch_size=1, epochs=1).parameters()
        )
