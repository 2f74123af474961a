"""Where there is no GPU, Triton's kernels run in its interpreter: said before anything imports Triton."""

import importlib.util
import os

import torch

collect_ignore_glob = [
    "tests/kernels/gpu_compilation.py",  # a script, which stops launches in the process it runs in
    # Scripts that make reference values with a library that is not in this environment.
    "tests/references/trl_*.py",
    "tests/vectors/make_*.py",
]

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob += [
        "src/counterpoint/kernels/similarity/fused*",
        "src/counterpoint/kernels/vocabulary/fused*",
    ]
elif not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
