"""Which machine the fused kernels are tested on: a GPU, or Triton's interpreter on the CPU, or none."""

from __future__ import annotations

import pytest
import torch

from counterpoint.kernels.triton_path import installed, interpreted

INTERPRETED = installed() and interpreted()
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
FUSED = INTERPRETED or (installed() and DEVICE.type == "cuda")

needs_fused = pytest.mark.skipif(not FUSED, reason="Triton is not installed")
"""For tests that put their tensors on DEVICE."""

fused_on_cpu = pytest.param(
    "triton",
    marks=pytest.mark.skipif(
        not INTERPRETED,
        reason="tensors on the CPU need Triton's interpreter: TRITON_INTERPRET=1 (on a GPU see test_triton.py)",
    ),
)
"""A path to run a test of CPU tensors under, beside "plain" and "stream"."""

PATHS_ON_CPU = ("plain", "stream", "triton") if INTERPRETED else ("plain", "stream")
