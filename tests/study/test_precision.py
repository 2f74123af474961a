"""What a run computes in where nobody says it, and how tensors go to a GPU; no GPU is needed to see which is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterpoint.kernels.transfer import sent
from counterpoint.study.recipe import Recipe
from counterpoint.tasks.precision import of_device


def recipe(**given: Any) -> Recipe:
    return Recipe(key="sft", settings={}, kind="problems", data="worked-sums", model="characters", **given)


@pytest.mark.parametrize(
    ("available", "supported", "kind", "expected"),
    [
        (False, True, "problems", "no"),
        (True, False, "problems", "no"),
        (True, True, "problems", "bf16"),
        (True, True, "preferences", "bf16"),
        (True, True, "interactions", "no"),
    ],
)
def test_language_models_compute_in_bf16_on_a_gpu_that_does(
    monkeypatch: pytest.MonkeyPatch, available: bool, supported: bool, kind: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert of_device(kind) == expected


def test_a_recipe_holds_what_it_became(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recipe().precision == "no"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert recipe().precision == recipe().computed_in == "bf16"
    assert recipe(precision="no").precision == "no"
    assert Recipe.from_dict(recipe(precision="no").as_dict()).precision == "no"
    assert recipe().identity("x")["precision"] == "bf16"


def test_what_goes_to_a_gpu_comes_from_locked_memory_and_is_not_waited_for() -> None:
    asked: list[Any] = []

    class Value:
        device = torch.device("cpu")

        def pin_memory(self) -> Value:
            asked.append("pinned")
            return self

        def to(self, device: Any, **options: Any) -> Value:
            asked.append((str(device), options))
            return self

    sent(Value(), "cuda")  # type: ignore[arg-type]
    sent(Value(), torch.device("cpu"))  # type: ignore[arg-type]
    assert asked == ["pinned", ("cuda", {"non_blocking": True}), ("cpu", {})]
