"""Priors: functions, commands and pipelines edit pictures; what they made is made once; errors say what to do."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.styles.load import load_styles
from counterpoint.data.styles.sets import Styles
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.generation.picture_editors import Prior, edited, editor
from counterpoint.phases.styles.pseudo_pairs import with_pseudo_pairs
from counterpoint.training import Budget, Run
from tiny_models import image_to_image

pytest.importorskip("PIL")
OWN = Path(__file__).with_name("own_editors.py")
PICTURE = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)


@pytest.fixture
def photos(tmp_path: Path) -> Styles:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (6, 6), (number, 2 * number, 50)).save(tmp_path / "photos" / f"{number}.png")
    return load_styles(tmp_path / "photos")


@pytest.mark.parametrize("given", [PICTURE, PICTURE[:1]])
@pytest.mark.parametrize("spec", [f"{OWN}:paint", f"{sys.executable} {OWN} {{input}} {{output}} {{prompt}}"])
def test_functions_and_commands_give_the_negative(spec: str, given: torch.Tensor) -> None:
    made = edited(editor(Prior(editor=spec)), given, "a 'negative' of \"it\"; $HOME", 0)
    assert torch.equal(made, 255 - given)


def test_pseudo_pairs_are_a_durable_stage(
    tmp_path: Path, photos: Styles, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = Prior(editor=f"{OWN}:paint")
    for attempt in range(2):
        with Run(tmp_path / "run", seed=1, budget=Budget(steps=1), progress=False) as run:
            data = with_pseudo_pairs(photos, prior, run)
        plain, styled = data.train.pairs()
        assert torch.equal(plain, photos.train.plain)
        assert torch.equal(styled, 255 - plain)
        monkeypatch.setattr(
            "counterpoint.phases.styles.pseudo_pairs.editor",
            lambda prior: pytest.fail(f"opened again ({attempt})"),
        )
    assert not len(data.test.styled)


def test_what_a_prior_makes_stands_beside_real_styled_pictures(tmp_path: Path, photos: Styles) -> None:
    import dataclasses

    part = dataclasses.replace(
        photos.train,
        styled=photos.train.plain[:2],
        partners=torch.tensor([-1, -1]),
        styled_labels=torch.tensor([-1, -1]),
    )
    with Run(tmp_path / "run", seed=1, budget=Budget(steps=1), progress=False) as run:
        data = with_pseudo_pairs(dataclasses.replace(photos, train=part), Prior(editor=f"{OWN}:paint"), run)
    assert data.train.partners.tolist() == [-1, -1, *range(len(part.plain))]


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (f"{OWN}:fails", "no paint left"), (f"{OWN}:wrong", "uint8"), (f"{OWN}:sys", "expected a function"), ("nothing", "expected a function"),
        (f"{OWN}:missing", "cannot be imported"), ("no-such-program {input} {output}", "cannot be started"), ("cp {input} x", "both"),
        (f"{sys.executable} {OWN} {{input}} {{output}} nothing", "no paint left"), ("", "no styled pictures and no prior"),
    ],
)  # fmt: skip
def test_what_cannot_edit_is_told(tmp_path: Path, photos: Styles, spec: str, match: str) -> None:
    with (
        Run(tmp_path / "run", seed=1, budget=Budget(steps=1), progress=False) as run,
        pytest.raises(CounterpointError, match=match),
    ):
        with_pseudo_pairs(photos, Prior(editor=spec), run)


def test_a_folder_without_a_pipeline_and_a_missing_library_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CounterpointError, match=r"model_index\.json"):
        editor(Prior(editor=str(tmp_path)))
    (tmp_path / "model_index.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"counterpoint\[diffusion\]"):
        editor(Prior(editor=str(tmp_path)))


def test_a_pipeline_is_called_as_diffusers_says_fake_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which arguments are passed, with a fake module in place of diffusers; the real library is the next test's."""
    from PIL import ImageOps

    seen: dict[str, Any] = {}

    class Fake:
        @classmethod
        def from_pretrained(cls, folder: str) -> Fake:
            seen["folder"] = folder
            return cls()

        def set_progress_bar_config(self, **options: Any) -> None:
            pass

        def to(self, device: str) -> None:
            pass

        def __call__(self, **options: Any) -> Any:
            seen.update(options)
            return types.SimpleNamespace(images=[ImageOps.invert(options["image"])])

    module = types.ModuleType("diffusers")
    module.AutoPipelineForImage2Image = Fake
    bars = types.ModuleType("diffusers.utils.logging")
    bars.disable_progress_bar = lambda: seen.update(bars="hidden")
    monkeypatch.setitem(sys.modules, "diffusers", module)
    monkeypatch.setitem(sys.modules, "diffusers.utils.logging", bars)
    (tmp_path / "model_index.json").write_text("{}")
    edit = editor(Prior(editor=str(tmp_path), strength=0.4, steps=7, guidance=2.0))
    assert torch.equal(edited(edit, PICTURE, "a painting", 5), 255 - PICTURE)
    assert (seen["folder"], seen["prompt"], seen["strength"]) == (str(tmp_path), "a painting", 0.4)
    assert seen["bars"] == "hidden"
    assert (seen["num_inference_steps"], seen["guidance_scale"], seen["generator"].initial_seed()) == (
        7,
        2.0,
        5,
    )


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed")
def test_a_tiny_random_pipeline_of_diffusers(tmp_path: Path) -> None:
    image_to_image(tmp_path / "pipeline")
    prior = Prior(editor=str(tmp_path / "pipeline"), steps=2, strength=1.0, guidance=1.0)
    edit = editor(prior)
    made = edited(edit, torch.zeros(3, 16, 16, dtype=torch.uint8), "a painting", 1)
    assert made.shape == (3, 16, 16)
    assert torch.equal(made, edited(edit, torch.zeros(3, 16, 16, dtype=torch.uint8), "a painting", 1))
    assert not torch.equal(made, edited(edit, torch.zeros(3, 16, 16, dtype=torch.uint8), "a painting", 2))
