"""A training step of our denoisers beside diffusers' own: its time, and the memory that it takes.

    python benchmarks/diffusion_step.py                       # both networks; tables in Markdown
    python benchmarks/diffusion_step.py dit --rounds 3        # one of them, fewer rounds

Arms, each a process of its own that lives through all rounds; they take turns, a few steps each, one at a time:

- ``run``: flow matching as a person starts it, on our network: rows, noise, Adam, clipping, averaged weights, events.
- ``run, their network``: the same on diffusers' network, the very one of the next arm.
- ``diffusers``: the loop of its example of unconditional training: Accelerate, DDPM noise, AdamW, clipping, EMAModel.
- ``bare`` and ``bare, their network``: forward and backward pass of the mean squared error, nothing else.

Both networks are diffusers' classes and ours of the same sizes; they are not equal to the last layer, so that parameters are
counted beside them. The losses differ (a velocity, a noise), so that time and memory alone are compared. Neither side decodes pictures,
writes checkpoints or has a tracker. Needs diffusers, see ``requirements.txt``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import environment, reset_peak, status
from torch import Tensor, nn
from torch.nn import functional

SHAPE, PICTURES, CLASSES = (3, 32, 32), 512, 10
BATCH = {"dit": 16, "unet": 8}
ARMS = ("run", "run, their network", "diffusers", "bare", "bare, their network")
ENDLESS = 10**7
IMPORTED = (
    "accelerate", "diffusers.models.transformers.dit_transformer_2d", "diffusers.models.unets.unet_2d",
    "diffusers.optimization", "diffusers.schedulers.scheduling_ddpm", "diffusers.training_utils",
    "counterpoint.data.pictures.load", "counterpoint.methods.baselines.flow_matching", "counterpoint.models.pictures.folder",
    "counterpoint.training",
)  # fmt: skip


class Theirs(nn.Module):
    """diffusers' network, called as ours are; shapes: N pictures of C channels."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.shape, self.patches = SHAPE, 64

    def forward(self, x_NCHW: Tensor, t_N: Tensor, s_N: Tensor, prompts_N: Tensor) -> Tensor:
        labels = (prompts_N.where(prompts_N >= 0, self.classes),) if self.classes else ()
        return self.network(x_NCHW, 1000 * t_N, *labels).sample


def our_network(kind: str) -> nn.Module:
    from counterpoint.models.pictures.dit import DiT
    from counterpoint.models.pictures.unet import UNet

    if kind == "dit":
        return DiT(SHAPE, patch=4, width=192, depth=6, heads=6, names=[str(each) for each in range(CLASSES)])
    return UNet(SHAPE, width=32, multipliers=(1, 2), blocks=2)


def their_network(kind: str) -> nn.Module:
    from diffusers import DiTTransformer2DModel, UNet2DModel

    if kind == "dit":
        return DiTTransformer2DModel(
            num_attention_heads=6, attention_head_dim=32, in_channels=3, num_layers=6, sample_size=32, patch_size=4,
            num_embeds_ada_norm=CLASSES,
        )  # fmt: skip
    return UNet2DModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, attention_head_dim=64,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift",
    )  # fmt: skip


def train_by_run(model: Any, kind: str, pixels: Tensor, labels: Tensor) -> None:
    """Flow matching, without end."""
    from counterpoint.data.images.sets import Images, ImageSet
    from counterpoint.data.pictures.load import Pictures, PictureSet
    from counterpoint.methods.catalog import load
    from counterpoint.training import Budget, Run

    images = ImageSet(pixels, labels)
    names = tuple(str(each) for each in range(CLASSES)) if kind == "dit" else ()
    rows = PictureSet(images, labels if names else torch.full_like(labels, -1))
    data = Pictures(
        rows, rows, rows, Images(images, images, images, names), "classes" if names else "none", names
    )
    method = load("flow-matching").settings(batch_size=BATCH[kind])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), budget=Budget(steps=ENDLESS), progress=False, checkpoint_seconds=1e9)
        method.fit(model, data, run)


def train_by_diffusers(network: Any, kind: str, pixels: Tensor, labels: Tensor) -> None:
    """What diffusers' example does at a step, without end; classes go to a network that reads them."""
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from torch.utils.data import DataLoader, TensorDataset

    accelerator = Accelerator(cpu=True)
    average = EMAModel(
        network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75,
        model_cls=type(network), model_config=network.config,
    )  # fmt: skip
    noising = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    optimizer: Any = torch.optim.AdamW(
        network.parameters(), 1e-4, betas=(0.95, 0.999), eps=1e-8, weight_decay=1e-6
    )
    loader: Any = DataLoader(TensorDataset(pixels / 127.5 - 1, labels), BATCH[kind], shuffle=True)
    rate: Any = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=ENDLESS)
    network, optimizer, loader, rate = accelerator.prepare(network, optimizer, loader, rate)
    while True:
        for clean, classes in loader:
            noise = torch.randn_like(clean)
            t = torch.randint(0, 1000, (len(clean),))
            given = (noising.add_noise(clean, noise, t), t, *((classes,) if kind == "dit" else ()))
            with accelerator.accumulate(network):
                loss = functional.mse_loss(network(*given).sample, noise)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                rate.step()
                optimizer.zero_grad()
            average.step(network.parameters())
            loss.item()


def train_bare(network: nn.Module, kind: str) -> None:
    """Forward and backward pass, without end."""
    x, t = torch.randn(BATCH[kind], *SHAPE), torch.rand(BATCH[kind])
    prompts = torch.arange(BATCH[kind]) % CLASSES if kind == "dit" else torch.full((BATCH[kind],), -1)
    while True:
        network.zero_grad()
        functional.mse_loss(network(x, t, t, prompts), x).backward()


def take_turns(network: nn.Module, steps: int, empty: int) -> None:
    """Before every so many calls of the network, report the block of steps behind and wait for a line; none ends the process."""
    calls = 0
    began = 0.0, 0.0

    def turn(module: nn.Module, given: object) -> None:
        nonlocal calls, began
        if calls % steps == 0:
            if calls:
                now = time.perf_counter(), time.process_time()
                wall, cpu = ((after - before) / steps for after, before in zip(now, began, strict=True))
                report({"wall": wall, "cpu": cpu, "peak": status("VmHWM") - empty})
            if not sys.stdin.readline():
                os._exit(0)
            reset_peak()
            began = time.perf_counter(), time.process_time()
        calls += 1

    network.register_forward_pre_hook(turn)


def report(content: dict[str, float]) -> None:
    sys.stdout.write("\n" + json.dumps(content) + "\n")
    sys.stdout.flush()


def work(kind: str, arm: str, steps: int) -> None:
    """One arm's process."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (PICTURES, *SHAPE), dtype=torch.uint8)
    labels = torch.arange(PICTURES) % CLASSES
    theirs = arm == "diffusers" or arm.endswith("their network")
    for each in IMPORTED:  # in every arm, so that all start from the same memory and none counts its imports
        importlib.import_module(each)
    empty = reset_peak()
    network = their_network(kind) if theirs else our_network(kind)
    report({"parameters": sum(each.numel() for each in network.parameters())})
    take_turns(network, steps, empty)
    if arm == "diffusers":
        train_by_diffusers(network, kind, pixels, labels)
    model = Theirs(network, CLASSES if kind == "dit" else 0) if theirs else network
    if arm.startswith("bare"):
        train_bare(model, kind)
    train_by_run(model, kind, pixels, labels)


def measure(kind: str, rounds: int, steps: int) -> None:
    """Print the table of one kind of network."""
    workers = {
        arm: subprocess.Popen(
            [sys.executable, __file__, kind, "--steps", str(steps), "--worker", arm],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )
        for arm in ARMS
    }  # fmt: skip
    parameters = {arm: answer(arm, worker)["parameters"] for arm, worker in workers.items()}
    blocks: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    load = []
    for number in range(rounds + 1):
        load.append(os.getloadavg()[0])
        order = ARMS if number % 2 else ARMS[::-1]
        for arm in order:
            pipe = workers[arm].stdin
            assert pipe is not None
            pipe.write("go\n")
            pipe.flush()
            block = answer(arm, workers[arm])
            if number:  # the first block is a warm-up
                blocks[arm].append(block)
    for worker in workers.values():
        worker.communicate()
    sys.stdout.write(table(kind, parameters, blocks, load, steps))
    sys.stdout.flush()


def answer(arm: str, worker: subprocess.Popen[str]) -> dict[str, float]:
    """The next report of a worker.

    Raises:
        RuntimeError: it ended.
    """
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"the arm '{arm}' ended; what it wrote is above")


def table(
    kind: str,
    parameters: dict[str, float],
    blocks: dict[str, list[dict[str, float]]],
    load: list[float],
    steps: int,
) -> str:
    """Markdown; a ratio is of the blocks of one round, its spread the quartiles over rounds."""
    lines = [
        f"\n{kind}, {BATCH[kind]} pictures of {SHAPE}, blocks of {steps} steps, {len(load) - 1} rounds, {torch.get_num_threads()} thread(s), "
        f"load {min(load):.1f} to {max(load):.1f}",
        "",
        "| arm | parameters | step, wall | step, processor | `diffusers` over it, wall (quartiles) | processor (quartiles) | peak |",
        "|" + "---|" * 7,
    ]
    for arm, own in blocks.items():
        wall, cpu = (statistics.median(block[key] for block in own) for key in ("wall", "cpu"))
        ratios = [spread(blocks["diffusers"], own, key) for key in ("wall", "cpu")]
        peak = max(block["peak"] for block in own) / 1e6
        lines.append(
            f"| {arm} | {parameters[arm]:,} | {wall * 1e3:.0f} ms | {cpu * 1e3:.0f} ms | {ratios[0]} | {ratios[1]} | {peak:,.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def spread(theirs: list[dict[str, float]], ours: list[dict[str, float]], key: str) -> str:
    ratios = [one[key] / other[key] for one, other in zip(theirs, ours, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=["dit", "unet"], help="dit, unet")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3, help="of a block")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.networks[0], asked.worker, asked.steps)
    else:
        for name in asked.networks:
            measure(name, asked.rounds, asked.steps)
