"""Stock models: made once for an identity, and a model whose saving was cut off does not stay."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.stored import stored


def test_made_once_for_an_identity_and_never_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("counterpoint").propagate = True
    monkeypatch.setattr("counterpoint.bundled.cache.root", lambda: tmp_path)
    made: list[int] = []

    def make() -> Language:
        made.append(torch.get_num_threads())
        return tiny(seed=len(made))

    def cut(self: Language, folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Language, "save", cut)
        stored("models", "one", "a", make)
    assert [each.suffix for each in (tmp_path / "models").iterdir()] == [".lock"]
    caplog.clear()
    first, again = stored("models", "one", "a", make), stored("models", "one", "a", make)
    taught = [each for each in caplog.records if "one is taught now, once, and kept in" in each.getMessage()]
    # After a test of the command line, which ends propagation, pytest hands each record to caplog twice.
    assert len({id(each) for each in taught}) == 1, "said when it is taught, and only then"
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters()))
    other = stored("models", "one", "b", make)
    assert not all(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters()))
    assert made == [1, 1, 1], "cut off, made, made for another identity; on one thread"
