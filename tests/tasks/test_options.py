"""Data options are checked in one way, whatever the kind."""

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.tasks.options import checked_load
from counterpoint.tasks.task import described, kinds, task


def load(spec: str, *, size: int = 8, gray: bool = False) -> tuple[str, int, bool]:
    return spec, size, gray


def test_text_is_read_by_the_type_of_the_parameter():
    assert checked_load(load, "here", {"size": "28", "gray": "true"}, "pictures") == ("here", 28, True)


def test_a_loader_without_a_spec_takes_options_only():
    def make(seed: int = 0) -> int:
        return seed

    assert checked_load(make, None, {"seed": "4"}, "worlds") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sise": 28}, "no data option 'sise' for pictures; did you mean 'size'"),
        ({"spec": "elsewhere"}, "no data option 'spec' for pictures"),
        ({"size": "large"}, "data option size='large': input should be a valid integer"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, message):
    with pytest.raises(CounterpointError, match=message):
        checked_load(load, "here", options, "pictures")


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != "toy"])
def test_every_kind_refuses_an_unknown_option(kind):
    with pytest.raises(CounterpointError, match="no data option 'no_such_option' for "):
        task(kind).load_data(next(iter(described(kind).bundled), "a.csv"), no_such_option=1)
