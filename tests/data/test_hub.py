"""Names on a hub: a local fake in place of the network; huggingface_hub's own offline mode and cache."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

import counterpoint
from counterpoint.bundled.hub import HubName
from counterpoint.data.hub import data
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import load
from counterpoint.tasks.recognise import kind_of
from counterpoint.tasks.task import open_data, task

ROWS = "prompt,answer\n" + "\n".join(f"{n}+1=,{n + 1}" for n in range(30)) + "\n"


class Hub:
    """A folder ``<kind>/<org>/<name>@<revision>`` of repositories, downloaded by copying what the patterns allow."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, []  # type: ignore[var-annotated]

    def put(self, kind: str, name: str, files: dict[str, str], revision: str = "main") -> Path:
        folder = self.root / "remote" / kind / f"{name}@{revision}"
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def snapshot_download(
        self, repo_id: str, *, repo_type: str, revision: str | None, allow_patterns: Sequence[str]
    ) -> str:
        self.asked.append((repo_type, repo_id, revision))
        remote = self.root / "remote" / repo_type / f"{repo_id}@{revision or 'main'}"
        if not remote.is_dir():
            raise ValueError(f"404 {repo_id}")
        local = self.root / "cache" / repo_type / repo_id.replace("/", "--") / (revision or "main")
        for file in remote.rglob("*"):
            if file.is_file() and any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                target = local / file.relative_to(remote)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        return str(local)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "own-cache"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.chdir(tmp_path)
    return made


def test_a_model_is_opened_by_its_name_and_revision(fake: Hub) -> None:
    tiny(seed=3).save(fake.put("model", "org/tiny", {}, "v2"))
    model = load("org/tiny@v2")
    assert model.head.weight.equal(tiny(seed=3).head.weight)
    assert fake.asked[0] == ("model", "org/tiny", "v2")


def test_data_are_opened_by_their_name(fake: Hub) -> None:
    fake.put(
        "dataset",
        "org/sums",
        {"train-00000-of-00001.csv": ROWS, "test.csv": ROWS, "README.md": "# sums", "x.py": ""},
    )
    found = open_data(task("problems"), "org/sums")
    assert (len(found.train) > 20, len(found.test)) == (True, 30)
    assert kind_of("org/sums") == "problems"


def card(**configs: object) -> str:
    listed = [{"config_name": name, "data_files": files} for name, files in configs.items()]
    return f"---\n{yaml.safe_dump({'configs': listed})}---\n# sums\n"


def test_a_configuration_is_chosen_and_must_be_where_there_are_several(fake: Hub) -> None:
    small = [{"split": "train", "path": "small/*.csv"}, {"split": "test", "path": "held/a.csv"}]
    files = {"README.md": card(small=small, large="large/*.csv"), "small/part.csv": ROWS, "held/a.csv": ROWS}
    fake.put("dataset", "org/sums", files | {"large/one.csv": ROWS, "large/two.csv": ROWS}, "v1")
    folder = data("org/sums:small@v1")
    assert folder is not None
    assert sorted(file.name.split("-")[0] for file in folder.iterdir()) == ["test", "train"]
    large = data("org/sums:large@v1")
    assert large is not None
    assert len(list(large.iterdir())) == 2
    with pytest.raises(
        CounterpointError, match=r"configurations small, large; choose one: --data org/sums:small"
    ):
        data("org/sums@v1")
    with pytest.raises(CounterpointError, match="did you mean 'small'"):
        data("org/sums:smal@v1")


@pytest.mark.parametrize(
    "spec", ["here/rows.jsonl", "folder/thing", "digits", "reasoning-gym:a_b?size=3", "a/b/c"]
)
def test_what_may_be_a_path_is_no_name(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert HubName.of(spec) is None


def test_environments_keep_their_own_names(fake: Hub) -> None:
    from counterpoint.tasks.task import on_hub

    assert on_hub(task("environment"), "ALE/Pong-v5") == "ALE/Pong-v5"
    assert not fake.asked


def test_what_the_hub_does_not_have_is_one_message(fake: Hub) -> None:
    with pytest.raises(CounterpointError, match=r"neither a path nor in the hub's cache.*give a folder"):
        load("org/nothing")
    with pytest.raises(CounterpointError, match="a model has no configuration"):
        load("org/tiny:small")


def test_offline_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CounterpointError, match="neither a path nor in the hub's cache"):
        load("org/tiny")


def test_the_card_is_what_a_hub_reads(fake: Hub, tmp_path: Path) -> None:
    model = {"README.md": "---\nlicense: mit\n---\n# tiny\n"}
    tiny(seed=0).save(fake.put("model", "org/tiny", {}))
    fake.put("model", "org/tiny", model)
    fake.put("dataset", "org/sums", {"train.csv": ROWS, "validation.csv": ROWS, "test.csv": ROWS})
    out = tmp_path / "run"
    settings: dict[str, Any] = {"lora_rank": 2, "batch_size": 4, "learning_rate": 1e-4}
    counterpoint.run(
        "sft",
        data="org/sums",
        model="org/tiny",
        out=out,
        settings=settings,
        steps=1,
        evaluate=False,
        progress=False,
    )
    text = (out / "model" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers"
    assert front["base_model"] == "org/tiny"
    assert front["license"] == "mit"
    assert front["datasets"] == ["org/sums"]
    assert front["tags"] == ["counterpoint", "sft", "problems"]
    assert "adapters of rank 2 on every linear layer but the head, merged into the weights" in text
    # A second run from that folder hands the base on.
    counterpoint.run(
        "sft", data="org/sums", model=out / "model", out=tmp_path / "two", settings=settings, steps=1, evaluate=False,
        progress=False,
    )  # fmt: skip
    again = yaml.safe_load((tmp_path / "two" / "model" / "README.md").read_text().split("---")[1])
    assert again["base_model"] == "org/tiny"
