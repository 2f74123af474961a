"""A generator of a diffusers pipeline: its step by the library's own parts, what learns, folders in and out, a run from the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.styles.sets import Styles, StyleSet
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.folders import load as open_folder
from counterpoint.models.styles.domains import DOMAINS
from counterpoint.models.styles.one_step import OneStepRestyler, from_pipeline
from counterpoint.tasks.styles import TASK
from counterpoint.training import Budget, Run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed"
)
PROMPTS = {"plain": ("a photo",), "styled": ("a drawing", "a sketch")}
SMALL: dict[str, Any] = {
    "batch_size": 2, "learning_rate": 1e-2, "text.rank": 2, "lora.unet_rank": 2, "lora.vae_rank": 2,
    "weights.cycle_perceptual": 0.0, "weights.identity_perceptual": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import image_to_image

    folder = tmp_path_factory.mktemp("pipeline") / "tiny"
    image_to_image(folder)
    return folder


def opened(pipeline: Path, mode: Any = "separate") -> OneStepRestyler:
    model = from_pipeline(pipeline, (3, 16, 16), PROMPTS)
    torch.manual_seed(0)
    model.adapt(mode, 2, 0.5)
    model.adapt_network(2, 2)
    return model


def awake(model: OneStepRestyler) -> OneStepRestyler:
    """One whose additions and convolutions add something."""
    torch.manual_seed(1)
    for name, value in model.named_parameters():
        if ".b." in name or name.startswith("skips"):
            value.data += 0.05 * torch.randn_like(value)
    return model


def pictures() -> Tensor:
    return torch.rand(3, 3, 14, 17, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_step_by_the_librarys_own_parts(pipeline: Path) -> None:
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    model = opened(pipeline)
    for convolution in model.skips.parameters():
        nn.init.zeros_(convolution)
    own = StableDiffusionPipeline.from_pretrained(pipeline, local_files_only=True)
    x = functional.pad(pictures(), (0, 1, 0, 0), mode="replicate")
    ids = own.tokenizer(["a sketch"] * 3, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        z = own.vae.encode(x).latent_dist.mean * own.vae.config.scaling_factor
        noise = own.unet(z, 999, encoder_hidden_states=own.text_encoder(ids)[0]).sample
        scheduler = DDPMScheduler.from_config(own.scheduler.config, clip_sample=False)
        clean = scheduler.step(noise, 999, z).pred_original_sample
        wanted = own.vae.decode(clean / own.vae.config.scaling_factor).sample.clamp(-1, 1)[:, :, :, :17]
        made = model(pictures(), torch.tensor([1, 1, 1]), "styled")
    assert made.shape == (3, 3, 14, 17)
    assert made.abs().min() < 1  # not clamped everywhere
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("towards", DOMAINS)
def test_a_direction_moves_its_own_parts(pipeline: Path, towards: Any) -> None:
    model = awake(opened(pipeline))
    (model(pictures() * 0.1, torch.tensor([0, 0, 0]), towards) ** 2).mean().backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    learns = {n for n, p in model.named_parameters() if p.requires_grad}
    other = "plain" if towards == "styled" else "styled"
    assert moved == {name for name in learns if other not in name}
    assert {name.split(".")[0] for name in learns} == {"more", "skips", "unet"}
    assert {name for name in learns if name.startswith("unet")} == {
        "unet.conv_in.weight",
        "unet.conv_in.bias",
    }
    groups = {name.split(".")[1] for name in learns if name.startswith("more")}
    assert groups == {"unet", *(f"{part}_{d}" for part in ("encoder", "decoder", "text") for d in DOMAINS)}


@pytest.mark.parametrize("mode", ["separate", "shared", "frozen"])
def test_a_folder_that_diffusers_opens_and_this_package_too(
    pipeline: Path, tmp_path: Path, mode: Any
) -> None:
    from diffusers import DiffusionPipeline

    model = awake(opened(pipeline, mode))
    with torch.no_grad():
        before = {d: model(pictures(), torch.tensor([0, 0, 0]), d) for d in DOMAINS}
        prompts = {d: model.embed(d) for d in DOMAINS}
        TASK.save_model(model, tmp_path / "model")
        again = {d: model(pictures(), torch.tensor([0, 0, 0]), d) for d in DOMAINS}
        reopened: Any = open_folder(tmp_path / "model")
        for d in DOMAINS:
            assert torch.equal(before[d], again[d])  # writing leaves the model as it was
            assert torch.equal(before[d], reopened(pictures(), torch.tensor([0, 0, 0]), d))
            assert torch.equal(prompts[d], reopened.embed(d))
    assert (reopened.prompts, reopened.shape) == (model.prompts, model.shape)
    assert not torch.equal(before["plain"], before["styled"])
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    stock = DiffusionPipeline.from_pretrained(pipeline, local_files_only=True)
    trained = {
        name
        for name, value in pipe.unet.state_dict().items()
        if not torch.equal(value, stock.unet.state_dict()[name])
    }
    assert "mid_block.resnets.0.conv1.weight" in trained
    given = torch.zeros(1, 3, 16, 16)
    made = pipe("a drawing", given, strength=1.0, num_inference_steps=1, output_type="np").images
    assert made.shape == (1, 16, 16, 3)


def data() -> Styles:
    g = torch.Generator().manual_seed(0)

    def part(count: int) -> StyleSet:
        plain, styled = (
            torch.randint(256, (count, 3, 16, 16), generator=g, dtype=torch.uint8) for _ in DOMAINS
        )
        return StyleSet(plain, styled, torch.arange(count), *(torch.full((count,), -1) for _ in DOMAINS))

    return Styles(part(6), part(3), part(3), PROMPTS)


@pytest.mark.parametrize("mode", ["separate", "shared"])
def test_training_moves_what_learns_and_nothing_else(pipeline: Path, tmp_path: Path, mode: str) -> None:
    model: Any = TASK.load_model(str(pipeline), data(), 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with Run(tmp_path / "run", seed=1, budget=Budget(steps=2), progress=False) as run:
        load("stydeco").settings(**{**SMALL, "text.adapters": mode, "weights.decoupling": 0.1}).fit(
            model, data(), run
        )
    learns = {name for name, value in model.named_parameters() if value.requires_grad}
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name not in learns)
    assert all(after[name].abs().sum() > 0 for name in learns if ".b." in name)
    assert TASK.evaluate(model, data(), "test", 0).keys() >= {"nearness", "cosine_between"}


def test_a_run_from_the_command_line_and_one_that_goes_on(pipeline: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name, part in (("plain", data().train.plain), ("styled", data().train.styled)):
        (tmp_path / "art" / name).mkdir(parents=True)
        for number in range(12):
            pixels = part[number % 6].permute(1, 2, 0).numpy()
            Image.fromarray(pixels // (1 + number // 6)).save(tmp_path / "art" / name / f"{number}.png")
    given = [
        f"--{name}={value}".replace("_", "-", 1)
        for name, value in (("batch_size", 2), ("learning_rate", 0.001))
    ]
    given += ["--text.rank=2", "--lora.unet_rank=2", "--lora.vae_rank=2", "--steps=1"]

    def run(model: str, out: str) -> Any:
        return CliRunner().invoke(
            app,
            [
                "run",
                "stydeco",
                "--data",
                str(tmp_path / "art"),
                "--model",
                model,
                "--out",
                str(tmp_path / out),
                *given,
            ],
        )

    for model, out in ((str(pipeline), "one"), (str(tmp_path / "one" / "model"), "two")):
        done = run(model, out)
        assert done.exit_code == 0, (done.output, done.exception)
    assert (tmp_path / "two" / "model" / "model_index.json").exists()
    assert len(list((tmp_path / "two" / "model").glob("*/gallery.png"))) >= 2
    done = CliRunner().invoke(
        app, ["predict", str(tmp_path / "two"), "--data", str(tmp_path / "art" / "plain"), "--towards", "styled", "--out", str(tmp_path / "x.jsonl")]
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 12


def test_pictures_of_other_channels_are_refused(pipeline: Path) -> None:
    with pytest.raises(CounterpointError, match=r"3 channels, and the data's have 1"):
        from_pipeline(pipeline, (1, 16, 16), PROMPTS)
