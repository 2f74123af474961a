"""The kernels' paths against one another on a GPU: plain, stream, triton, and the bare products as the floor.

    python benchmarks/gpu.py                      # full shapes, on the first GPU
    TRITON_INTERPRET=1 python benchmarks/gpu.py --device cpu --small --repeats 1      # does it run, do the numbers agree?

A step is a forward and a backward. Paths take turns, the first round warms up; times are medians, peaks are the
allocator's above the inputs. A path that runs out of memory says so. Axes: N rows or positions, V vocabulary, D width.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from counterpoint.kernels.config import kernel_path
from counterpoint.kernels.similarity import not_self, similarity_logsumexp, similarity_logsumexp_both
from counterpoint.kernels.vocabulary import Head, divergence, jsd, log_probs_and_entropy

Step = Callable[[], tuple[Tensor, ...]]
PATHS = ("plain", "stream", "triton")


def contrast(rows: int, width: int, device: torch.device) -> dict[str, Step]:
    """Rows N against as many columns."""
    a, b = (
        torch.nn.functional.normalize(torch.randn(rows, width, device=device)).requires_grad_() for _ in "ab"
    )

    def grads(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        return (value.detach(), *torch.autograd.grad(value, leaves))

    def floor(products: int) -> Step:
        def step() -> tuple[Tensor, ...]:
            with torch.no_grad():
                for _ in range(products):
                    for part in a.split(4096):
                        torch.mm(part, b.T)
            return ()

        return step

    return {
        "one-way": lambda: grads(similarity_logsumexp(a, b, scale=10.0).mean(), a, b),
        "one-way floor": floor(3),
        "both": lambda: grads(sum(v.mean() for v in similarity_logsumexp_both(a, b, scale=10.0)), a, b),
        "self": lambda: grads(similarity_logsumexp(a, scale=10.0, include=[not_self(rows)]).mean(), a),
    }


def heads(positions: int, vocabulary: int, width: int, device: torch.device) -> dict[str, Step]:
    """A trainable student head and a constant teacher's over N positions."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device) / shape[-1] ** 0.25

    hidden, weight = draw(positions, width).requires_grad_(), draw(vocabulary, width).requires_grad_()
    student, teacher = (
        Head(hidden, weight),
        Head(draw(positions, width + width // 2), draw(vocabulary, width + width // 2)),
    )
    ids = torch.randint(vocabulary, (positions,), device=device)

    def grads(value: Tensor) -> tuple[Tensor, ...]:
        return (value.detach(), *torch.autograd.grad(value, (hidden, weight)))

    def floor() -> tuple[Tensor, ...]:
        with torch.no_grad():
            for part in hidden.split(512):
                z = part @ weight.T
                _ = z @ weight, z.T @ part, teacher.hidden[: len(part)] @ teacher.weight.T
        return ()

    return {
        "forward KL": lambda: grads(divergence(student, teacher, "forward").mean()),
        "JSD": lambda: grads(divergence(student, teacher, jsd(0.5)).mean()),
        "divergence floor": floor,
        "log-probabilities": lambda: grads(log_probs_and_entropy(student, ids)[0].mean()),
    }


def measure(step: Step, device: torch.device, path: str) -> tuple[float, float | None, tuple[Tensor, ...]]:
    """Seconds, peak MB above the start (on a GPU), and results."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    before, start = (torch.cuda.memory_allocated(device) if on_gpu else 0), time.perf_counter()
    with kernel_path(path):
        results = step()
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    peak = (torch.cuda.max_memory_allocated(device) - before) // 1e6 if on_gpu else None
    return seconds, peak, results


def main() -> None:
    """Print one JSON line per workload and path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes: nothing is measured by them")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(
        json.dumps(
            {"device": name, "torch": torch.__version__, "precision": torch.get_float32_matmul_precision()}
        )
    )
    torch.manual_seed(0)
    steps = contrast(*((48, 8) if given.small else (32_768, 256)), device)
    steps |= heads(*((3, 301, 8) if given.small else (4096, 151_936, 1024)), device)
    for workload, step in steps.items():
        paths = ("stream",) if workload.endswith("floor") else PATHS
        times: dict[str, list[float]] = {path: [] for path in paths}
        peaks: dict[str, float | None] = {}
        first: dict[str, tuple[Tensor, ...]] = {}
        for turn in range(given.repeats + 1):
            for path in paths:
                try:
                    seconds, peaks[path], results = measure(step, device, path)
                except torch.OutOfMemoryError:
                    continue
                first.setdefault(path, tuple(r.cpu() for r in results))
                del results
                times[path] += [seconds] if turn else []
        for path in paths:
            if not times[path]:
                print(json.dumps({"workload": workload, "path": path, "result": "out of memory"}))
                continue
            errors = [
                float((x - y).abs().max() / y.abs().max().clamp(min=1e-30))
                for x, y in zip(first[path], first.get("stream", ()))
            ]
            print(
                json.dumps(
                    {
                        "workload": workload, "path": path, "median_s": statistics.median(times[path]),
                        "peak_mb": peaks[path], "largest_error_to_stream": max(errors, default=0.0),
                    }
                ),
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
