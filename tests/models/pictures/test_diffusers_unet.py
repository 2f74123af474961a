"""diffusers' U-Net as a denoiser, with a fake module in the library's place: how it is called, what comes back, what is refused.

The fake has the library's names and folders (``unet/config.json`` with ``_class_name``, safetensors, ``model_index.json``) and little else.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from counterpoint.data.images.sets import Images, ImageSet
from counterpoint.data.pictures.load import Pictures, PictureSet
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.generation.pictures import pictures
from counterpoint.methods.catalog import load as load_method
from counterpoint.models.folders import load
from counterpoint.models.pictures.diffusers_unet import DiffusersUNet
from counterpoint.tasks.pictures import TASK
from counterpoint.training import Budget, Run

CONFIG = {
    "sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [3, 5], "class_embed_type": None,
    "num_class_embeds": None,
}  # fmt: skip
WEIGHTS = "diffusion_pytorch_model.safetensors"


class Down(nn.Conv2d):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), ()


class UNet2DModel(nn.Module):
    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(**config)
        self.down_blocks, self.up_blocks = nn.ModuleList([Down(1, 5, 1)]), nn.ModuleList([nn.Conv2d(5, 3, 1)])
        self.mid_block, self.out = nn.Conv2d(5, 5, 1), nn.Conv2d(3, 1, 1)

    def forward(self, sample: Tensor, timestep: Tensor) -> Any:
        h = self.mid_block(self.down_blocks[0](sample)[0]) * (1 + timestep[:, None, None, None] / 1000)
        return types.SimpleNamespace(sample=self.out(self.up_blocks[0](h)))

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **vars(self.config)}))
        save_file(self.state_dict(), folder / WEIGHTS)

    @classmethod
    def from_pretrained(cls, folder: str, local_files_only: bool) -> UNet2DModel:
        config = json.loads((Path(folder) / "config.json").read_text())
        made = cls(**{name: value for name, value in config.items() if name != "_class_name"})
        made.load_state_dict(load_file(Path(folder) / WEIGHTS))
        return made


class DDPMPipeline:
    def __init__(self, unet: UNet2DModel, scheduler: object) -> None:
        self.unet, self.scheduler = unet, scheduler

    def save_pretrained(self, folder: Path) -> None:
        self.unet.save_pretrained(folder / "unet")
        (folder / "model_index.json").write_text(json.dumps({"scheduler": type(self.scheduler).__name__}))


class FlowMatchEulerDiscreteScheduler:
    pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A U-Net's folder, and the fake library."""
    module = types.ModuleType("diffusers")
    for each in (UNet2DModel, DDPMPipeline, FlowMatchEulerDiscreteScheduler):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "diffusers", module)
    bars = types.ModuleType("diffusers.utils.logging")
    bars.disable_progress_bar = lambda: None
    monkeypatch.setitem(sys.modules, "diffusers.utils.logging", bars)
    torch.manual_seed(0)
    UNet2DModel(**CONFIG).save_pretrained(tmp_path / "given")
    return tmp_path / "given"


def data(named: bool = False) -> Pictures:
    labels = torch.arange(12) % 2
    pixels = (40 * torch.arange(12 * 16).view(12, 1, 4, 4) % 256).to(torch.uint8)
    images, names = ImageSet(pixels, labels), ("a", "b") if named else ()
    rows = PictureSet(images, labels if named else torch.full_like(labels, -1))
    whole = Images(images, images, images, names)
    return Pictures(rows, rows, rows, whole, "classes" if named else "none", names)


def trained(folder: Path, key: str, out: Path, **settings: Any) -> nn.Module:
    method = load_method(key).settings(batch_size=4, learning_rate=0.01, **settings)
    with Run(out / "run", budget=Budget(steps=6), progress=False) as run:
        model = method.fit(TASK.load_model(str(folder), data(), 0), data(), run)
    TASK.save_model(model, out / "model")
    return model


def test_a_trained_flow_is_a_pipeline_and_opens_as_what_it_was(folder: Path, tmp_path: Path) -> None:
    before = load_file(folder / WEIGHTS)
    model = trained(folder, "flow-matching", tmp_path, **{"sampling.steps": (2,)})
    written = load_file(tmp_path / "model/unet" / WEIGHTS)
    assert before.keys() == written.keys()
    assert all(not torch.equal(before[name], written[name]) for name in before)
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    assert index == {"scheduler": "FlowMatchEulerDiscreteScheduler"}
    assert (tmp_path / "model/samples_002_steps/gallery.png").is_file()
    again = load(tmp_path / "model")
    assert isinstance(again, DiffusersUNet)
    assert again.sampling["steps"] == [2]
    wanted = pictures(model, [None] * 3, steps=3)
    assert torch.equal(pictures(again, [None] * 3, steps=3), wanted)
    assert torch.equal(
        pictures(TASK.load_model(str(tmp_path / "model"), data(), 0), [None] * 3, steps=3), wanted
    )


def test_the_network_is_given_thousandfold_times_and_is_read_at_its_lowest_resolution(folder: Path) -> None:
    model, network = load(folder), UNet2DModel.from_pretrained(str(folder), True)
    assert isinstance(model, DiffusersUNet)
    assert (model.shape, model.patches) == ((1, 4, 4), 16)
    assert pictures(model, [None] * 2, steps=2).shape == (
        2,
        1,
        4,
        4,
    )  # also before any training, as a run measures it
    x, t = torch.randn(2, 1, 4, 4), torch.tensor([0.25, 0.5])
    none = torch.full((2,), -1)
    wanted = network(x, torch.tensor([250.0, 500.0])).sample
    torch.testing.assert_close(model(x, t, t.clone(), none), wanted)
    model.read_at(model.usual_tap(), "none")
    trace = model.traced(x, t, none)
    torch.testing.assert_close(trace.output, wanted)
    lowest = network.mid_block(network.down_blocks[0](x)[0]).mean((2, 3))
    torch.testing.assert_close(trace.pooled[0], lowest)
    assert [each.shape[1] for each in trace.pooled] == [model.state_width(1), model.state_width(2)] == [5, 3]
    assert trace.z is not None
    assert trace.z.mean().abs() < 1e-6


def test_a_result_on_edms_path_is_a_unet_and_no_pipeline(folder: Path, tmp_path: Path) -> None:
    trained(folder, "edm", tmp_path, **{"diffusion.steps": (2,)})
    assert not (tmp_path / "model/model_index.json").exists()
    again = load(tmp_path / "model")
    assert isinstance(again, DiffusersUNet)
    assert again.sampling["path"] == "edm"


def test_its_lowest_resolution_is_contrasted(folder: Path, tmp_path: Path) -> None:
    trained(
        folder, "ddae", tmp_path, conditioning="none", **{"diffusion.path": "flow", "diffusion.steps": (2,)}
    )
    again = load(tmp_path / "model")
    assert isinstance(again, DiffusersUNet)
    assert (again.tap, again.conditioning) == (1, "none")


def test_what_it_cannot_do_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, none = load(folder), torch.full((2,), -1)
    assert isinstance(model, DiffusersUNet)
    with pytest.raises(CounterpointError, match="has one time"):
        model(torch.zeros(2, 1, 4, 4), torch.ones(2), torch.zeros(2), none)
    with pytest.raises(CounterpointError, match="conditioning=none"):
        trained(folder, "ddae", tmp_path)
    with pytest.raises(CounterpointError, match="reads other prompts"):
        TASK.load_model(str(folder), data(named=True), 0)
    for changed, said in (({"num_class_embeds": 3}, "prompts=none"), ({"out_channels": 2}, "out_channels=2")):
        with pytest.raises(CounterpointError, match=said):
            DiffusersUNet(UNet2DModel(**{**CONFIG, **changed}))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"counterpoint\[diffusion\]"):
        TASK.load_model(str(folder), data(), 0)
