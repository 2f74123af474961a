"""Views: view-major, drawn per row, the same for one process and for many, and each step does what it says."""

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.pairs.views import PRESETS, Augmentation, augmentation
from counterpoint.training.batches import ItemRandom


def draws(size: int, rows: slice = slice(None), seed: int = 0) -> ItemRandom:
    return ItemRandom(seed, size, rows, torch.device("cpu"))


def pictures(number: int = 6, channels: int = 3, side: int = 16) -> torch.Tensor:
    return torch.randint(
        0, 256, (number, channels, side, side), generator=torch.Generator().manual_seed(1)
    ).byte()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_ranks_see_what_one_process_sees(name, channels):
    pixels = pictures(channels=channels)
    whole = PRESETS[name].views(pixels, draws(6), 3).unflatten(0, (3, 6))
    first = PRESETS[name].views(pixels[:4], draws(6, slice(0, 4)), 3).unflatten(0, (3, 4))
    second = PRESETS[name].views(pixels[4:], draws(6, slice(4, 6)), 3).unflatten(0, (3, 2))
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    assert not torch.equal(whole[0], whole[1])


def test_nothing_switched_on_is_the_identity_view_major():
    pixels = pictures()
    views = Augmentation().views(pixels, draws(6), 2)
    torch.testing.assert_close(views, (pixels.float() / 255).repeat(2, 1, 1, 1))


def test_flip_mirrors_and_shift_moves():
    pixels = pictures()
    flipped = Augmentation(flip=1.0).views(pixels, draws(6), 1)
    torch.testing.assert_close(flipped, (pixels.float() / 255).flip(3), atol=1e-5, rtol=0)
    dot = torch.zeros(200, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    moved = Augmentation(shift=2 / 9).views(dot, draws(200), 1)
    place = (moved.sum((1, 2)) * torch.arange(9)).sum(1) / moved.sum((1, 2, 3))
    assert float((place - 4).abs().max()) <= 2.001
    assert float((place - 4).abs().mean()) == pytest.approx(1.0, abs=0.2)


def test_rotation_keeps_the_shape_of_a_disc_in_an_oblong_image():
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    disc = (((rows - 15.5) ** 2 + (columns - 31.5) ** 2) < 100).float().expand(8, 1, 32, 64)
    turned = Augmentation(rotation=90).views(disc, draws(8), 1)
    assert float((turned - disc).abs().mean()) < 0.02


def test_zoom_enlarges():
    square = torch.zeros(4, 1, 32, 32)
    square[:, :, 12:20, 12:20] = 1
    assert float(
        Augmentation(scale=(2.0, 2.0)).views(square, draws(4), 1).sum() / square.sum()
    ) == pytest.approx(4, rel=0.02)


def test_crop_stays_inside_and_covers_what_it_says():
    white = torch.ones(50, 1, 16, 16)
    assert float(
        Augmentation(crop=(0.2, 0.5), padding="border").views(white, draws(50), 1).min()
    ) == pytest.approx(1, abs=1e-5)
    ramp = torch.linspace(0, 1, 64).expand(50, 1, 64, 64)
    span = Augmentation(crop=(0.25, 0.25), padding="border").views(ramp, draws(50), 1)
    width = (span[..., -1] - span[..., 0]).mean((1, 2))
    assert float(width.min()) > 0.4
    assert float(width.max()) < 0.6


def test_colour_steps():
    pixels = pictures()
    gray = Augmentation(grayscale=1.0).views(pixels, draws(6), 1)
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    even = torch.full((6, 3, 8, 8), 0.5)
    jittered = Augmentation(jitter=1.0, contrast=0.8, saturation=0.8, hue=0.2).views(even, draws(6), 1)
    torch.testing.assert_close(jittered, even, atol=1e-5, rtol=0)  # an even gray has no contrast and no hue
    whole_turn = Augmentation(jitter=1.0, hue=0.5).views(pixels, draws(6), 1)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    inside = (whole_turn > 0) & (whole_turn < 1)
    kept = inside.all(1)
    assert float(((whole_turn - pixels.float() / 255) * luma).sum(1)[kept].abs().max()) < 1e-5


def test_blur_keeps_the_mean_and_lowers_the_variance():
    pixels = pictures(side=224)
    blurred = Augmentation(blur=1.0).views(pixels, draws(6), 1)
    plain = pixels.float() / 255
    torch.testing.assert_close(blurred.mean((2, 3)), plain.mean((2, 3)), atol=5e-3, rtol=0)
    assert bool((blurred.var((2, 3)) < plain.var((2, 3))).all())


def test_names():
    assert augmentation("auto", (3, 32, 32)) is PRESETS["natural"]
    assert augmentation("auto", (1, 28, 28)) is PRESETS["small"]
    assert augmentation("light", (3, 32, 32)) == Augmentation(shift=0.125, flip=0.5)
    assert augmentation("light", (1, 28, 28)) == Augmentation(shift=0.125)
    with pytest.raises(CounterpointError, match="did you mean 'natural'"):
        augmentation("naturel", (3, 32, 32))
