"""What has to be said before anything imports torch or Triton: threads, and that Triton's kernels run in its interpreter without a GPU."""

import importlib.util
import os

# One thread a process, as the Makefile says: several pytest processes would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

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
