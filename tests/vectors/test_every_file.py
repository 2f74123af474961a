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


@pytest.mark.parametrize(
    ("stem", "case_name", "dropped"),
    [
        ("policy_core", "case0", ("ref_logps", "grpo_kl/", "grpo_kl_biascorr/")),
        ("policy_core", "case0", ("dapo/loss", "rloo/grad")),
        ("policy_core", "adv0", ("grpo_adv", "rloo_adv_normalized")),
        ("policy_core", "adv1", ("rewards_per_func", "reward_weights", "grpo_adv_normalize_then_sum")),
        ("policy_core", "kl0", ("kl_forward", "grad_kl_", "k1/values")),
        ("preference_core", "case0", ("metric_", "ref_logps", "lengths", "orpo_nll", "grad_")),
        ("cream", "case0", ("input_ids", "attention_mask", "policy_logps", "ref_logps", "margin")),
        ("cream", "case2", ("consistency_mean", "chosen_index", "rejected_index")),
    ],
)
def test_a_case_runs_on_the_arrays_that_it_has(stem: str, case_name: str, dropped: tuple[str, ...]) -> None:
    case = next(c for c in harness.load_cases(folder() / f"{stem}.npz") if c.name == case_name)
    left = {key: value for key, value in case.arrays.items() if not key.startswith(dropped)}
    assert len(left) < len(case.arrays)
    harness._complete(HANDLERS[stem], Case(stem, case_name, left), harness.kernel_paths()[0])


@pytest.mark.parametrize("stem", sorted(path.stem for path in folder().glob("*.npz")))
def test_a_case_without_its_gradients_runs_on_its_values(stem: str) -> None:
    case = harness.load_cases(folder() / f"{stem}.npz")[0]
    left = {key: value for key, value in case.arrays.items() if not key.split("/")[-1].startswith("grad_")}
    handler = HANDLERS[handler_prefix(stem) or ""]
    results = [key for key in left if key.split("/")[-1].startswith(harness.RESULTS)]
    if results:
        harness._complete(handler, Case(case.file, case.name, left), harness.kernel_paths()[0])


def test_a_case_of_which_nothing_is_compared_fails() -> None:
    with pytest.raises(AssertionError, match="nothing of this case"):
        harness._complete(_reads_all, _case(x=1.0), harness.kernel_paths()[0])


def test_a_handler_that_cannot_place_a_case_becomes_a_failing_check() -> None:
    def lost(case: Case) -> Checks:
        raise KeyError("method")

    with pytest.raises(pytest.fail.Exception):
        harness._plan(lost, _case(x=1.0))["unknown"]()


def test_the_longest_prefix_wins() -> None:
    assert handler_prefix("dcl_nnclr") == "dcl_nnclr"
    assert handler_prefix("dcl_fresh") == "dcl"
    assert handler_prefix("dclx") is None
