"""Any gymnasium environment with discrete actions is named by its id; what cannot be played is one message, status 2."""

import sys

import pytest

pytest.importorskip("gymnasium")

OWN = """
import gymnasium
import numpy as np


class Corridor(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.place += 1 if action else -1
        return np.full(2, self.place, np.float32), float(self.place == 3), self.place == 3, False, {}


class Pictures(Corridor):
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)


gymnasium.register("Corridor-v0", entry_point=Corridor, max_episode_steps=9)
gymnasium.register("Pictures-v0", entry_point=Pictures)
"""
SMALL = [
    "--model",
    "c51-8",
    "--frames",
    "80",
    "--warmup",
    "40",
    "--segment",
    "40",
    "--window",
    "2",
    "--steps",
    "3",
]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "own_corridor.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    yield
    import gymnasium

    sys.modules.pop("own_corridor", None)
    for name in ("Corridor-v0", "Pictures-v0"):
        gymnasium.registry.pop(name, None)


@pytest.mark.parametrize(
    "data",
    ["CartPole-v1", pytest.param("gym:Acrobot-v1", marks=pytest.mark.slow), "own_corridor:Corridor-v0"],
)
def test_an_id_is_enough(cli, tmp_path, data):
    done = cli("run", "spr-ucb", "--data", data, "--out", "out", *SMALL)
    assert done.exit_code == 0, (done.output, done.exception)
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    shown = cli("check", "--data", data)
    assert shown.exit_code == 0, shown.output
    assert "environment" in shown.output
    assert f"{data.removeprefix('gym:')}: observations of" in shown.output


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'"),
        ("Pendulum-v1", "finitely many actions"),
        ("own_corridor:Pictures-v0", "shows images (8, 8, 3)"),
        ("own_corridr:Corridor-v0", "No module named 'own_corridr'"),
        ("FrozenLake-v1", "one_hot=true"),
    ],
)
def test_what_cannot_be_played(cli, tmp_path, data, says):
    done = cli("run", "spr-ucb", "--data", data, "--out", "out", *SMALL)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert says in " ".join(done.stderr.split())
    assert len(done.stderr) < 600  # one message, however it is wrapped
    assert not (tmp_path / "out" / "model").exists()
