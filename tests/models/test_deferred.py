"""Weights that stay in their files until a process reads its shards, and that are written one by one. One process stands for several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.models import deferred, deferred_folder, sharding
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language, LoRA, load
from counterpoint.models.language.reward import RewardModel
from counterpoint.models.lending import lent


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny(seed=0).save(tmp_path / "base")


def far(folder: Path, **options: Any) -> Language:
    with deferred.wanted():
        return load(folder, **options)


def trained(model: Any) -> None:
    """Give adapters something to say."""
    with torch.no_grad():
        for number, (name, p) in enumerate(model.named_parameters()):
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))


def same_files(one: Path, other: Path) -> None:
    """Compare the files of two folders, byte by byte."""
    files = [sorted(path.name for path in folder.iterdir() if path.is_file()) for folder in (one, other)]
    assert files[0] == files[1]
    assert any(name.endswith(".safetensors") for name in files[0])
    for name in files[0]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("lora", [None, LoRA(rank=2, alpha=4.0)])
def test_shards_are_read_from_the_files_and_written_as_the_whole_model_is(
    mesh: object, base: Path, tmp_path: Path, lora: LoRA | None
) -> None:
    plain, model = load(base, lora=lora), far(base, lora=lora)
    own = {name: p for name, p in model.named_parameters() if "lora_" not in name}
    assert all(p.is_meta for p in own.values())
    assert model.runs == plain.runs
    assert model.device == torch.device("cpu")
    trained(plain)
    trained(model)
    sharding.shard(model, mesh, sharding.policy_of("no"))
    expected = dict(plain.named_parameters())
    for name, p in model.named_parameters():
        assert torch.equal(p.full_tensor(), expected[name]), name  # type: ignore[operator]
        assert p.requires_grad == expected[name].requires_grad
    assert not deferred.is_far(model)
    plain.save(tmp_path / "plain")
    if lora:
        plain.save(tmp_path / "plain" / "adapter", adapter=True)
    with lent(model) as given:
        assert given is not None
        given.save(tmp_path / "lent")
        if lora:
            given.save(tmp_path / "lent" / "adapter", adapter=True)
    for part in (".", "adapter") if lora else (".",):
        same_files(tmp_path / "plain" / part, tmp_path / "lent" / part)


def test_many_weights_make_several_files(mesh: object, base: Path, tmp_path: Path) -> None:
    load(base).causal.save_pretrained(tmp_path / "plain", max_shard_size=20_000)
    model = sharding.shard(far(base), mesh)
    (tmp_path / "lent").mkdir()
    with lent(model) as given:
        assert given is not None
        deferred_folder.write(given.causal, tmp_path / "lent", largest=20_000)
    assert len(list((tmp_path / "lent").glob("model-*.safetensors"))) > 2
    same_files(tmp_path / "plain", tmp_path / "lent")


def test_half_precision_stays_the_folders(mesh: object, tmp_path: Path) -> None:
    tiny(seed=0).bfloat16().save(tmp_path / "base")
    model = far(tmp_path / "base")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    sharding.shard(model, mesh)
    load(tmp_path / "base").save(tmp_path / "plain")
    with lent(model) as given:
        assert given is not None
        given.save(tmp_path / "lent")
    same_files(tmp_path / "plain", tmp_path / "lent")
    assert '"dtype": "bfloat16"' in (tmp_path / "lent" / "config.json").read_text()


def test_a_reward_model_is_written_so_too(mesh: object, base: Path, tmp_path: Path) -> None:
    plain, model = RewardModel.on(load(base)), RewardModel.on(far(base))
    sharding.shard(model.language, mesh)
    plain.save(tmp_path / "plain")
    with lent(model) as given:
        assert given is not None
        given.save(tmp_path / "lent")
    same_files(tmp_path / "plain", tmp_path / "lent")


def test_rows_of_a_weight_are_those_rows(base: Path) -> None:
    whole = dict(load(base).named_parameters())
    for name, source in deferred.sources(far(base)).items():
        if name in whole:
            assert torch.equal(source.rows(1, 3), whole[name][1:3]), name


def test_weights_under_other_names_are_read_whole(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(base / "model.safetensors")
    bare = {name.removeprefix("model."): value for name, value in state.items()}
    save_file(bare, base / "model.safetensors", metadata={"format": "pt"})
    model = far(base)
    assert not any(p.is_meta for p in model.parameters())
    assert torch.equal(model.head.weight, load(base).head.weight)


def test_the_trial_reads_the_weights_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    tiny(seed=0).save(folder)
    read, whole = 0, deferred.InFile._read

    def counted(self: deferred.InFile, rows: slice) -> torch.Tensor:
        nonlocal read
        value = whole(self, rows)
        read += value.nbytes
        return value

    monkeypatch.setattr(deferred.InFile, "_read", counted)
    with deferred.wanted():
        opened = load(folder, dtype=torch.float32)
    assert opened.runs.fast
    assert read < 6.5 * (folder / "model.safetensors").stat().st_size
