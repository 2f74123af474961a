"""No vector file without a handler, and the harness itself: it must fail where it claims to."""

import importlib.util
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
from harness import HANDLERS, Case, Checks, folder, handler_prefix


@pytest.fixture(scope="module", autouse=True)
def _all_handlers() -> None:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.name != Path(__file__).name:
            spec = importlib.util.spec_from_file_location(f"_handlers_of_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)


@pytest.mark.parametrize("stem", sorted(path.stem for path in folder().glob("*.npz")))
def test_file_has_a_handler(stem: str) -> None:
    assert handler_prefix(stem) is not None, f"no test module handles {stem}.npz; handled: {sorted(HANDLERS)}"


def test_there_are_files() -> None:
    assert list(folder().glob("*.npz")), f"no vector file in {folder()}"


def _case(**arrays: float) -> Case:
    return Case(
        "made_up", "case0", {key.replace("__", "/"): np.asarray(value) for key, value in arrays.items()}
    )


def _reads_all(case: Case) -> Checks:
    def check() -> None:
        case.number("x")
        case.expect("a/loss", 1.0, rtol=1e-9)

    return {"a": check}


def test_complete_passes_when_all_is_read_and_compared() -> None:
    harness._complete(_reads_all, _case(x=1.0, a__loss=1.0), harness.kernel_paths()[0])


def test_an_unread_array_fails() -> None:
    with pytest.raises(AssertionError, match="nobody read"):
        harness._complete(_reads_all, _case(x=1.0, a__loss=1.0, b__loss=2.0), harness.kernel_paths()[0])


def test_a_result_only_read_fails() -> None:
    def lazy(case: Case) -> Checks:
        return {"a": lambda: case.number("a/loss")}

    with pytest.raises(AssertionError, match="never compared"):
        harness._complete(lazy, _case(a__loss=1.0), harness.kernel_paths()[0])


def test_a_wrong_value_and_a_wrong_shape_fail() -> None:
    with pytest.raises(AssertionError):
        _case(loss=1.0).expect("loss", 1.1, rtol=1e-9)
    with pytest.raises(AssertionError, match="shape"):
        _case(loss=1.0).expect("loss", np.ones(1), rtol=1e-9)


def test_a_handler_that_cannot_place_a_case_becomes_a_failing_check() -> None:
    def lost(case: Case) -> Checks:
        raise KeyError("method")

    with pytest.raises(pytest.fail.Exception):
        harness._plan(lost, _case(x=1.0))["unknown"]()


def test_the_longest_prefix_wins() -> None:
    assert handler_prefix("dcl_nnclr") == "dcl_nnclr"
    assert handler_prefix("dcl_fresh") == "dcl"
    assert handler_prefix("dclx") is None
