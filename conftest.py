"""Where there is no GPU, Triton's kernels run in its interpreter: said before anything imports Triton."""

import importlib.util
import os

import torch

# A script, which stops launches in the process it runs in.
collect_ignore_glob = ["tests/kernels/gpu_compilation.py"]

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob += [
        "src/counterpoint/kernels/similarity/fused*",
        "src/counterpoint/kernels/vocabulary/fused*",
    ]
elif not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
