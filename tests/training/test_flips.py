"""One flipped bit in any stored file is detected (what can be made anew is), or changes nothing that is read; and state that cannot merge."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoint import api
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.text import embedding
from counterpoint.study.files import read_sealed
from counterpoint.study.plan import stored_plan
from counterpoint.study.reproduce import check_evidence, write_evidence
from counterpoint.study.store import Result, claim, events, stored_recipe
from counterpoint.tasks.stock.stored import stored as stored_model
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.store_writer import write
from counterpoint.teachers.stored import Stored
from counterpoint.training import tree
from counterpoint.training.durable import MANIFEST, damage, write_folder

MADE: list[str] = []
"""What a reader found damaged and made anew."""
PAIRS = "paired:backward-sums?digits=1&size=20&validation=4&test=4"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("flips") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERPOINT_CACHE", str(out / "cache"))
        patch.setattr(embedding, "sentences", vectors)
        yield stored(out)


def stored(out: Path) -> Path:
    """A run with checkpoints and stages, a stored teacher, a study, and what the cache keeps."""
    api.run(
        "dpo", data=PAIRS, model="characters", out=out, steps=3,
        settings={"batch_size": 4}, evaluate=False, progress=False, keep_checkpoints=True, checkpoint_seconds=0.0,
    )  # fmt: skip
    model = tiny(seed=0)
    completions = model.completions(["2", "4"])
    write(out / "store", Answering(Frozen(model)), [(["1+1=", "2+2="], completions, torch.arange(2))])
    api.compare(["dpo", "sft"], data=PAIRS, model="characters", out=out / "study", steps=1, seeds=2)
    write_evidence(
        out / "study" / "evidence.json", {"key": "dpo", "finished": "today", "figures": [0.25, 0.5]}
    )
    (out / "encoder").mkdir()
    (out / "encoder" / "config.json").write_text("{}")
    embedded(out / "encoder")
    stock(out)
    MADE.clear()
    return out


def folder_content(path: Path) -> Any:
    fault = damage(path.parent)
    if fault is not None:
        raise CounterpointError(fault)
    return tree.read(path.parent)


def vectors(texts: Sequence[str], *, spec: str | Path) -> np.ndarray:
    MADE.append("vectors")
    return np.random.default_rng(len(texts)).normal(size=(len(texts), 16)).astype(np.float32)


def embedded(encoder: Path) -> Any:
    return embedding.cached_sentence_vectors(["a", "bc", "d"], encoder)


def stock(path: Path) -> Any:
    def make() -> Language:
        MADE.append("model")
        return tiny(seed=0)

    state = stored_model("toys", "tiny", "identity", make).state_dict()
    return {name: value.clone() for name, value in state.items()}  # not the mapped file


def plain_run(path: Path) -> Any:
    recipe = stored_recipe(path.parent)
    claim(path.parent, recipe, json.loads(path.read_text())["identity"]["data_fingerprint"])
    return recipe


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "checkpoint tensors": ("checkpoints/step-*/tensors.safetensors", folder_content),
    "checkpoint structure": ("checkpoints/step-*/structure.json", folder_content),
    "checkpoint manifest": ("checkpoints/step-*/manifest.json", folder_content),
    "stage": ("stages/**/structure.json", folder_content),
    "stage manifest": ("stages/**/manifest.json", folder_content),
    "stored teacher's shard": ("store/shard-*.safetensors", lambda path: stored_arrays(path.parent)),
    "stored teacher's index": ("store/store.json", lambda path: stored_arrays(path.parent)),
    "result": ("result.json", lambda path: astuple(Result.read(path.parent))),
    "events": ("events.jsonl", lambda path: list(events(path.parent))),
    "run": ("run.json", plain_run),
    "plan of a study": ("study/study.json", lambda path: stored_plan(path.parent).as_dict()),
    "results of a study": ("study/summary.json", lambda path: read_sealed(path)),
    "evidence": ("study/evidence.json", lambda path: check_evidence(path)),
    "reference log-probabilities": ("cache/references/*/*/structure.json", folder_content),
    "their manifest": ("cache/references/*/*/manifest.json", folder_content),
    "cached embeddings": ("cache/sentences/*.npy", lambda path: embedded(path.parents[2] / "encoder")),
    "their digest": ("cache/sentences/*.sha256", lambda path: embedded(path.parents[2] / "encoder")),
    "stock model": ("cache/toys/tiny-*/model.safetensors", stock),
    "its manifest": ("cache/toys/tiny-*/manifest.json", stock),
}


def stored_arrays(folder: Path) -> Any:
    store = Stored(folder)
    return store.rows, store.checks, store.distinct, store.packed, store.meta


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor | np.ndarray):
        return bool((one == other).all())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("flips", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_every_flip_is_detected_or_harmless(
    finished: Path, capsys: pytest.CaptureFixture[str], flips: int
) -> None:
    draws, rows = random.Random(0), []
    for name, (pattern, read) in READERS.items():
        path = sorted(finished.glob(pattern))[-1]
        whole, expected = path.read_bytes(), read(path)
        detected = harmless = 0
        for _ in range(flips):
            MADE.clear()
            bit = draws.randrange(8 * len(whole))
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            try:
                found = read(path)
            except CounterpointError as error:
                detected += "\n" not in str(error)
            else:
                assert same(expected, found), f"{name}: bit {bit} changed what is read, in silence"
                detected += bool(MADE)
                harmless += not MADE
        path.write_bytes(whole)
        assert same(expected, read(path))
        assert detected + harmless == flips, "an error is one line"
        rows.append((name, flips, detected, harmless))
        assert detected > 0.4 * flips, rows[-1]
    with capsys.disabled():
        print(f"\n{'file':30}{'flips':>6}{'detected':>10}{'harmless':>10}")
        for row in rows:
            print(f"{row[0]:30}{row[1]:6}{row[2]:10}{row[3]:10}")


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"a": 1}', '"text"', "3"])
def test_a_manifest_that_names_nothing_is_damage(tmp_path: Path, content: str) -> None:
    write_folder(tmp_path / "c", lambda folder: tree.write({"x": torch.ones(2)}, folder))
    assert damage(tmp_path / "c") is None
    (tmp_path / "c" / MANIFEST).write_text(content)
    assert "manifest" in (damage(tmp_path / "c") or "")


def test_a_file_that_the_manifest_does_not_name_is_damage(tmp_path: Path) -> None:
    write_folder(tmp_path / "c", lambda folder: tree.write({}, folder))
    (tmp_path / "c" / "more").write_text("")
    assert "more" in (damage(tmp_path / "c") or "")


@pytest.mark.parametrize(
    "state",
    [
        {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}},
        {1: torch.zeros(1), "1": torch.ones(1)},
        {"a": {1: np.zeros(1), "1": np.ones(1)}, "a/1": torch.full((1,), 2.0)},
        {"": torch.zeros(1), "value": torch.ones(1)},
    ],
)
def test_keys_that_look_alike_do_not_merge(tmp_path: Path, state: dict[Any, Any]) -> None:
    tree.write(state, tmp_path)
    assert same(tree.read(tmp_path), state)


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "null", "3", '{"identity": 3, "recipe": []}', '{"identity": {}, "recipe": {}}', "{"],
)
@pytest.mark.parametrize("name", ["run.json", "study.json", "result.json", "summary.json"])
def test_wrongly_shaped_json_is_one_line(tmp_path: Path, name: str, content: str) -> None:
    if name == "result.json":
        (tmp_path / "run.json").write_text('{"identity": {}, "recipe": {}}')
    if name == "summary.json":
        (tmp_path / "study.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(CounterpointError) as error:
        api.resume(tmp_path)
    assert "\n" not in str(error.value)


def test_a_store_knows_its_teacher(tmp_path: Path) -> None:
    one, other = tiny(seed=0), tiny(seed=1)
    completions = one.completions(["2", "4"])

    def broken() -> Any:
        yield ["1+1="], completions[:1], torch.arange(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", Answering(Frozen(one)), broken())
    with pytest.raises(CounterpointError, match="another teacher"):
        write(tmp_path / "s", Answering(Frozen(other)), broken())
    with pytest.raises(CounterpointError, match="other prompts"):
        write(tmp_path / "s", Answering(Frozen(one)), [(["2+1="], completions[:1], torch.arange(1))])
    shard = tmp_path / "s" / "shard-000000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    write(tmp_path / "s", Answering(Frozen(one)), [(["1+1="], completions[:1], torch.arange(1))])
    assert shard.read_bytes() == whole


WRONG = ["{}", "[]", "null", "3", '"text"', "{", '{"a": 1}', '[{"a": 1}]']


@pytest.mark.parametrize("content", WRONG)
@pytest.mark.parametrize("name", ["summary.json", "evidence.json", "source.json"])
def test_a_wrongly_shaped_study_is_one_line(finished: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for each in ("study.json", "summary.json", "evidence.json"):
        shutil.copy(finished / "study" / each, folder / each)
    (folder / name).write_text(content)
    with pytest.raises(CounterpointError) as error:
        if name == "source.json":
            read_sealed(folder / name, "commit", "case_sha256")
        else:
            api.report(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_a_wrongly_shaped_model_folder_is_one_line_or_opens(tmp_path: Path, name: str) -> None:
    tiny(seed=0).save(tmp_path / "m")
    said: list[str] = []
    for content in WRONG:
        (tmp_path / "m" / name).write_text(content)
        try:
            api.load(tmp_path / "m")
        except CounterpointError as error:
            said.append(str(error))
    assert len(said) >= 5, "what is no object is never read as one"
    assert not any("\n" in line for line in said)
