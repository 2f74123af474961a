"""Other libraries' progress bars are hidden, in one way, where something is opened or written."""

from __future__ import annotations

from pathlib import Path

import pytest

import counterpoint
from counterpoint import library_bars

SOURCES = Path(counterpoint.__file__).parent


def test_writing_a_model_shows_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers")
    net = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
        )
    )
    transformers.utils.logging.enable_progress_bar()
    try:
        net.save_pretrained(tmp_path / "shown")
        assert "it/s" in capfd.readouterr().err  # else nothing would be seen of hiding it
        library_bars.hide("transformers")
        net.save_pretrained(tmp_path / "hidden")
        assert capfd.readouterr().err == ""
    finally:
        transformers.utils.logging.disable_progress_bar()


def test_bars_of_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.enable_progress_bars()
    library_bars.hide("datasets")
    assert datasets.are_progress_bars_disabled()


def test_bars_of_diffusers() -> None:
    pytest.importorskip("diffusers")
    from diffusers.utils import logging

    logging.enable_progress_bar()
    library_bars.hide("diffusers")
    assert not logging.is_progress_bar_enabled()


def test_nothing_else_hides_them() -> None:
    calls = [
        path.relative_to(SOURCES)
        for path in SOURCES.rglob("*.py")
        if "disable_progress_bar" in path.read_text(encoding="utf-8")
    ]
    assert calls == [Path("library_bars.py")]
