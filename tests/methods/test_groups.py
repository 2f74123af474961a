"""Settings in groups: one flat mapping of dotted names wherever settings are given, stored, compared or tuned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from counterpoint.cli import options
from counterpoint.errors import CounterpointError
from counterpoint.methods import groups
from counterpoint.methods.base import Method
from counterpoint.study.ablate import variations


@dataclass
class Contrast:
    """How views are set against each other."""

    temperature: float = 0.1
    weighted: bool = False


@dataclass
class Source:
    """Where from."""

    kind: str = "own"
    url: str | None = None


@dataclass(kw_only=True)
class Grouped(Method[Any, Any]):
    """A method with two groups."""

    key: ClassVar[str] = "grouped"
    search: ClassVar[dict[str, Any]] = {"contrast.temperature": [0.1, 0.5]}
    moved: ClassVar[dict[str, str]] = {"tau": "contrast.temperature"}

    epochs: int = 3
    contrast: Contrast = field(default_factory=Contrast)
    source: Source = field(default_factory=Source)

    def fit(self, model: Any, data: Any, run: Any) -> Any:
        return model


@pytest.mark.parametrize(
    "given",
    [
        {"contrast.temperature": "0.2"},
        {"contrast": {"temperature": 0.2}},
        {"contrast": Contrast(temperature=0.2)},
        {"contrast_temperature": "0.2"},
        {"contrast-temperature": 0.2},
    ],
)
def test_a_setting_of_a_group_may_be_given_in_any_of_these_ways(given: dict[str, Any]) -> None:
    made = Grouped.settings(**given)
    assert made.contrast == Contrast(temperature=0.2)
    assert made.changed() == {"contrast.temperature": (0.1, 0.2)}
    assert groups.flat(made) == {
        "epochs": 3, "contrast.temperature": 0.2, "contrast.weighted": False, "source.kind": "own", "source.url": None,
    }  # fmt: skip
    assert Grouped.settings(**groups.flat(made)) == made


def test_flags_of_a_command_line() -> None:
    line = "--contrast.temperature 0.2 --contrast-weighted --source elsewhere --source-url none --epochs 4"
    typed = options.typed(Grouped, options.flags(line.split()))
    made = Grouped.settings(**typed)
    assert (made.epochs, made.contrast, made.source) == (4, Contrast(0.2, True), Source("elsewhere", None))
    assert list(options.typed(Grouped, options.flags(["--no-contrast.weighted"])).items()) == [
        ("contrast.weighted", "false")
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"contrast.temprature": 1},
            r"no setting 'contrast.temprature'; did you mean 'contrast.temperature'",
        ),
        ({"tau": 1}, r"'tau' is now 'contrast.temperature'"),
        ({"contrast.temperature": "warm"}, r"contrast.temperature='warm'"),
        ({"contrast": {"heat": 1}}, r"no setting 'contrast.heat'"),
        ({"epochs": "x"}, r"epochs='x'"),
    ],
)
def test_wrong_settings_are_named_in_full(given: dict[str, Any], says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        Grouped.settings(**given)


def test_demands_and_variations_know_dotted_names() -> None:
    made = Grouped.settings(contrast={"temperature": 0.0})
    with pytest.raises(CounterpointError, match=r"contrast.temperature=0.0; .*contrast.temperature=0.1"):
        made.demand(above_zero=["contrast.temperature"])
    found = variations(Grouped())
    assert found["contrast.temperature"] == [0.5]
    assert found["contrast.weighted"] == [True]
    assert variations(Grouped(), {"contrast.temperature": [0.1, 0.7]}) == {"contrast.temperature": [0.7]}
