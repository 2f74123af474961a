"""Conformance: every array of every case of every vector file is read, and every result in it is compared.

Vector files live in the folder that the environment variable COUNTERPOINT_VECTORS names (default: this folder).
A file's stem selects a handler by its longest registered prefix; keys are ``<case>/<name>`` or ``<case>/<loss>/<name>``.

A test module registers its handlers and binds the tests they become::

    def supcon_core(case: Case) -> Checks:
        return {loss: partial(check_loss, case, loss) for loss in case.losses()}

    test_contrast = vector_tests({"supcon_core": supcon_core})

For each case that gives one test per check and kernel path, and one test named ``complete`` that fails on any array
nobody read and on any result (``loss...``, ``grad...``, ...) that was read but never compared. Nothing is skipped: a
file without handler, a handler that raises and a loss name nobody knows are failing tests.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fused_paths import INTERPRETED

Checks = dict[str, Callable[[], None]]
Handler = Callable[["Case"], Checks]

RESULTS = ("loss", "grad", "per_token", "metric", "sampled")
"""An array whose last name starts so is a result: it must be compared, reading it is not enough."""

SETTINGS = ("grad_clip", "grad_accum", "grad_weight")
"""Inputs whose names look like results."""

SMALL_BUDGET_BYTES = 2**10
"""Budget under which streaming takes several blocks even at the vectors' sizes."""

HANDLERS: dict[str, Handler] = {}


def folder() -> Path:
    """Folder of the vector files."""
    return Path(os.environ.get("COUNTERPOINT_VECTORS") or Path(__file__).parent / "files")


def handler_prefix(stem: str) -> str | None:
    """Longest registered prefix of a file's stem, on whole words: ``dcl_nnclr_2`` -> ``dcl_nnclr`` before ``dcl``."""
    known = [p for p in HANDLERS if stem == p or stem.startswith((f"{p}_", f"{p}-"))]
    return max(known, key=len, default=None)


def kernel_paths() -> list[str]:
    """Kernel paths every check runs under: the plain formulas, and those in blocks forced even at these sizes.

    The fused ones (slow) take part where Triton's interpreter runs them.
    """
    try:
        from counterpoint.kernels.config import kernel_path  # noqa: F401
    except ImportError:
        return ["only"]
    return ["plain", "stream", "triton"] if INTERPRETED else ["plain", "stream"]


@contextlib.contextmanager
def forced(path: str) -> Iterator[None]:
    """Run the body with one kernel path forced."""
    if path == "only":
        yield
        return
    from counterpoint.kernels.config import kernel_path

    with kernel_path(path, budget_bytes=SMALL_BUDGET_BYTES):
        yield


@dataclass
class Case:
    """One case of one file: typed access that remembers what was read and what was compared."""

    file: str
    name: str
    arrays: dict[str, np.ndarray]
    read: set[str] = field(default_factory=set)
    compared: set[str] = field(default_factory=set)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def keys(self, prefix: str = "") -> list[str]:
        """Keys that start with a prefix, in file order."""
        return [key for key in self.arrays if key.startswith(prefix)]

    def losses(self) -> list[str]:
        """Names of the ``<loss>/...`` groups, in file order."""
        return list(dict.fromkeys(key.split("/", 1)[0] for key in self.arrays if "/" in key))

    def names(self, *forms: str) -> list[str]:
        """Values of the star in keys of these forms, such as ``loss_*`` or ``grad_*_mean``, in file order."""
        names = [
            key[len(head) : len(key) - len(tail)]
            for key in self.arrays
            for head, tail in (form.split("*") for form in forms)
            if key.startswith(head) and key.endswith(tail) and len(key) > len(head) + len(tail)
        ]
        return list(dict.fromkeys(names))

    def array(self, key: str) -> np.ndarray:
        """Read one array."""
        if key not in self.arrays:
            raise KeyError(f"{self.file}/{self.name} has no '{key}'; it has {sorted(self.arrays)}")
        self.read.add(key)
        return self.arrays[key]

    def tensor(self, key: str, *, grad: bool = False, dtype: torch.dtype | None = None) -> Tensor:
        """Read a tensor (a fresh copy, in the file's dtype unless told), as a leaf when ``grad``."""
        value = torch.as_tensor(np.array(self.array(key)))
        return value.to(dtype or value.dtype).requires_grad_(grad)

    def optional(self, key: str) -> Tensor | None:
        """Read a tensor that the file need not have."""
        return self.tensor(key) if key in self.arrays else None

    def number(self, key: str, default: float | None = None) -> float:
        """Read a scalar; ``default`` stands in when the file lacks it."""
        return default if default is not None and key not in self.arrays else self.array(key).item()

    def text(self, key: str, default: str | None = None) -> str:
        """Read a string."""
        return default if default is not None and key not in self.arrays else str(self.array(key))

    def expect(
        self, key: str, actual: Tensor | np.ndarray | float | None, *, rtol: float, atol: float = 0.0
    ) -> None:
        """Compare a result with the file's, if it has it; shape included (a missing gradient counts as zeros)."""
        if key not in self.arrays and key.split("/")[-1].startswith(RESULTS):
            return  # ``complete`` sees to it that every result of the file is compared, and that there is one
        expected = self.array(key)
        self.compared.add(key)
        if actual is None:
            actual = np.zeros_like(expected)
        if isinstance(actual, Tensor):
            actual = actual.detach().cpu().numpy()
        assert np.shape(actual) == expected.shape, (
            f"{key}: shape {np.shape(actual)}, the file has {expected.shape}"
        )
        np.testing.assert_allclose(
            actual, expected, rtol=rtol, atol=atol, err_msg=f"{self.file}/{self.name}/{key}"
        )

    def expect_any(self, results: dict[str, Callable[[], Tensor]], *, rtol: float, atol: float = 0.0) -> None:
        """Compare those of the results that the file has; at least one. (``complete`` sees to it that none is left.)"""
        here = [key for key in results if key in self.arrays]
        assert here, f"{self.file}/{self.name} has none of {sorted(results)}; it has {sorted(self.arrays)}"
        for key in here:
            self.expect(key, results[key](), rtol=rtol, atol=atol)


def load_cases(path: Path) -> list[Case]:
    """Split a file into its cases; keys without a case form a case named ``file``."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            name, _, rest = key.partition("/") if "/" in key else ("file", "", key)
            cases.setdefault(name, {})[rest] = arrays[key]
    return [Case(path.stem, name, content) for name, content in cases.items()]


def _fail(message: str) -> None:
    pytest.fail(message, pytrace=False)


def _plan(handler: Handler, case: Case) -> Checks:
    try:
        checks = dict(handler(case))
    except (
        Exception
    ) as error:  # a case the handler cannot place must show up as a failing test, not a collection error
        return {"unknown": functools.partial(_fail, f"the handler cannot place this case: {error!r}")}
    return checks or {"unknown": functools.partial(_fail, "the handler found nothing to check in this case")}


def _complete(handler: Handler, case: Case, path: str) -> None:
    checks = _plan(handler, case)
    with forced(path):
        for check in checks.values():
            check()
    unread = sorted(set(case.arrays) - case.read)
    assert not unread, f"nobody read {unread}"
    results = {
        k for k, v in case.arrays.items() if k.split("/")[-1].startswith(RESULTS) and v.dtype.kind == "f"
    } - set(SETTINGS)
    assert results <= case.compared, f"read but never compared: {sorted(results - case.compared)}"
    assert case.compared, f"nothing of this case was compared: {sorted(case.arrays)}"


def _run(handler: Handler, case: Case, check: str, path: str) -> None:
    if check == "complete":
        return _complete(handler, case, path)
    with forced(path):
        _plan(handler, case)[check]()
    return None


def vector_tests(handlers: dict[str, Handler]) -> Callable[..., None]:
    """Register handlers by file prefix and return the parametrised test over all their files' cases and checks."""
    HANDLERS.update(handlers)
    params = []
    for path in sorted(folder().glob("*.npz")):
        prefix = handler_prefix(path.stem)
        if prefix not in handlers:
            continue
        for case in load_cases(path):
            for check in [*_plan(handlers[prefix], case), "complete"]:
                for kernel in kernel_paths():
                    id_ = f"{path.stem}/{case.name}/{check}-{kernel}"
                    marks = [pytest.mark.slow] if kernel == "triton" else []
                    params.append(
                        pytest.param(handlers[prefix], path, case.name, check, kernel, id=id_, marks=marks)
                    )

    @pytest.mark.parametrize(("handler", "path", "case_name", "check", "kernel"), params)
    def test_vectors(handler: Handler, path: Path, case_name: str, check: str, kernel: str) -> None:
        case = next(c for c in load_cases(path) if c.name == case_name)
        _run(handler, case, check, kernel)

    return test_vectors
