"""The denoiser: patches and positions, prompts and times that matter, folders that come back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.folders import load as open_folder
from counterpoint.models.pictures.dit import DiT
from counterpoint.models.pictures.loading import chosen_patch, load_denoiser


def awake(**options: object) -> DiT:
    """A network whose output is not 0, as a fresh one's is."""
    g = torch.Generator().manual_seed(0)
    net = DiT(
        **{
            "shape": (2, 4, 6),
            "patch": 2,
            "width": 16,
            "depth": 2,
            "heads": 2,
            "names": ("a", "b"),
            **options,
        }
    )
    for value in net.double().parameters():
        value.data += 0.1 * torch.randn(value.shape, generator=g, dtype=torch.double)
    return net


def given(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    t = torch.rand(rows, generator=g, dtype=torch.double)
    return torch.randn(rows, 2, 4, 6, generator=g, dtype=torch.double), t, t * 0.5


def test_a_fresh_network_gives_no_velocity() -> None:
    x, t, s = (each.float() for each in given())
    assert not DiT((2, 4, 6), width=16)(x, t, s, torch.full((3,), -1)).any()


def test_rows_do_not_mix_and_none_is_allowed() -> None:
    net, (x, t, s) = awake(), given()
    prompts = torch.tensor([0, 1, -1])
    whole = net(x, t, s, prompts)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(
            net(x[one], t[one], s[one], prompts[one]), whole[one], rtol=1e-12, atol=1e-12
        )
    assert net(x[:0], t[:0], s[:0], prompts[:0]).shape == (0, 2, 4, 6)


def test_both_times_and_the_prompt_matter() -> None:
    net, (x, t, s) = awake(), given()
    prompts = torch.tensor([0, 0, 0])
    base = net(x, t, s, prompts)
    for other in (
        net(x, t, t, prompts),
        net(x, t * 0.9, s, prompts),
        net(x, t, s, prompts + 1),
        net(x, t, s, prompts - 1),
        net(x, t, s, prompts + 2),
    ):
        assert float((base - other).abs().max()) > 1e-6


def test_patches_are_put_back_where_they_came_from() -> None:
    """With a head that only copies its patch, the output is the picture."""
    net = DiT((1, 4, 6), patch=2, width=8, depth=0).double()
    with torch.no_grad():
        net.embed.weight.copy_(torch.eye(8, 4)), net.embed.bias.zero_()
    x = torch.randn(2, 1, 4, 6, dtype=torch.double)
    patches = torch.nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
    back = torch.nn.functional.fold(patches.transpose(1, 2), (4, 6), 2, stride=2)
    torch.testing.assert_close(back, x)
    assert net.positions.unique(dim=0).shape[0] == 6


def test_a_patch_as_large_as_the_picture_needs_no_attention() -> None:
    """One patch attends to itself: the short way is the long way."""
    block = awake(patch=2, shape=(2, 4, 6)).blocks[0]
    h = torch.randn(3, 1, 16, dtype=torch.double)
    short = block._attend(h)
    q, k, v = block.qkv(h).view(3, 1, 3, 2, -1).permute(2, 0, 3, 1, 4)
    long = block.out((torch.softmax(q @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(short, long)


def test_folders_come_back(tmp_path: Path) -> None:
    net = awake().float()
    net.sampling = {"steps": [1, 3], "guidance": 2.0}
    net.save_pretrained(tmp_path / "a")
    again = open_folder(tmp_path / "a")
    x, t, s = (each.float() for each in given())
    prompts = torch.tensor([0, 1, -1])
    assert torch.equal(again(x, t, s, prompts), net(x, t, s, prompts))
    assert (again.names, again.shape, again.sampling) == (("a", "b"), (2, 4, 6), net.sampling)
    again.save_pretrained(tmp_path / "b")
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()


def test_vectors_are_prompts_and_the_null_vector_is_none() -> None:
    net, (x, t, s) = awake(names=(), text_dim=5), given()
    vectors = torch.randn(3, 5, dtype=torch.double)
    assert float((net(x, t, s, vectors) - net(x, t, s, 0 * vectors)).abs().max()) > 1e-6
    torch.testing.assert_close(net(x, t, s, 0 * vectors), net(x, t, s, torch.full((3,), -1)))
    with pytest.raises(CounterpointError, match="captions"):
        net(x, t, s, torch.zeros(3, dtype=torch.long))


def test_words_become_prompts() -> None:
    net = DiT((1, 4, 4), width=8, names=("odd", "even"))
    assert net.prompts_of(["even", None, "odd", ""]).tolist() == [1, -1, 0, -1]
    with pytest.raises(CounterpointError, match="did you mean 'even'"):
        net.prompts_of(["evn"])


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("dit-smal", (1, 8, 8), "did you mean"),
        ("dit-small:3", (1, 8, 8), "patches of 3"),
        ("dit-small:x", (1, 8, 8), "dit-small:4"),
    ],
)
def test_models_that_are_not_there(spec: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        load_denoiser(spec, shape)


def test_reference_models_follow_their_seed_and_fit_odd_shapes() -> None:
    one, same, other = (load_denoiser("dit-small", (3, 10, 14), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.embed.weight, same.embed.weight)
    assert not torch.equal(one.embed.weight, other.embed.weight)
    assert chosen_patch((1, 29, 31)) == 1
    assert one.patches == 35
