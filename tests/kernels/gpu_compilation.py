"""Compiles every fused kernel for NVIDIA GPUs on a machine that has none: a script that prints one JSON line per kernel.

A driver that only names the target stands in for the real one, and launches stop after compilation, so the kernels get
the very arguments that the functions give them. The numbers that come out of the functions mean nothing.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from counterpoint.kernels import similarity, triton_path, vocabulary
from counterpoint.kernels.config import kernel_path


class Named:
    """A driver without a device."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def main(capability: int) -> None:
    driver.set_active(Named(capability))
    seen: set[str] = set()
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            shown = {k: v for k, v in kwargs.items() if isinstance(v, int | str)}
            print(
                json.dumps(
                    {
                        "kernel": self.__name__,
                        "shared": kernel.metadata.shared,
                        "hash": kernel.hash[:8],
                        **shown,
                    }
                ),
                flush=True,
            )
            if len(sys.argv) > 2:
                with open(f"{sys.argv[2]}/{self.__name__}-{kernel.hash[:8]}.cubin", "wb") as file:
                    file.write(kernel.asm["cubin"])
        return kernel

    JITFunction.run = compile_only
    triton_path.fused = similarity.fused = vocabulary.fused = lambda device: True
    with kernel_path("stream", budget_bytes=2**20):
        for dtype, widths in (
            (torch.float32, (48, 256)),
            (torch.bfloat16, (128,)),
            (torch.float64, (64,)),
        ):
            for width in widths:
                contrast(dtype, width)
        for dtype in (torch.float32, torch.float64):
            rows(dtype, 9000)
        # Sizes of 1 become constants of the program.
        rows(torch.float32, 1)
        contrast(torch.float32, 1, count=1)


def contrast(dtype: torch.dtype, width: int, count: int | None = None) -> None:
    a, b = (torch.zeros(count or n, width, dtype=dtype).requires_grad_() for n in (20_000, 300))
    scale = torch.ones(len(a)).requires_grad_()
    labels = torch.zeros(len(a), dtype=torch.long), torch.zeros(len(b), dtype=torch.long)
    weights = torch.zeros(len(b)).requires_grad_()
    table = torch.ones(len(a), len(b), dtype=torch.bool)
    rules = [similarity.different(*labels), similarity.same(*labels), similarity.where(table)]
    similarity.similarity_logsumexp(a, b, scale=scale, include=rules, log_weights=weights).sum().backward()
    sum(v.sum() for v in similarity.similarity_logsumexp_both(a, b)).backward()
    similarity.similarity_logsumexp(a, include=[similarity.not_self(len(a))]).sum().backward()


def rows(dtype: torch.dtype, entries: int) -> None:
    h, w, t = (
        torch.zeros(3, 16, dtype=dtype),
        torch.zeros(entries, 16, dtype=dtype),
        torch.zeros(3, entries, dtype=dtype),
    )
    h, w = h.requires_grad_(), w.requires_grad_()
    head, ids = vocabulary.Head(h, w, softcap=30.0), torch.zeros(3, dtype=torch.long)
    for kind in ("forward", "reverse", "tv", "jeffreys", "hellinger", vocabulary.jsd(0.5), vocabulary.amari(0.5),
                 vocabulary.skewed_forward(0.1), vocabulary.skewed_reverse(0.1)):  # fmt: skip
        vocabulary.divergence(head, t, kind).sum().backward()
    vocabulary.log_probs_and_entropy(head, ids)[0].sum().backward()
    vocabulary.entropy(head).sum().backward()


if __name__ == "__main__":
    main(int(sys.argv[1]))
