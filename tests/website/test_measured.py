"""Figures that pages tell of single measurements are those of docs/measured: what compare and run wrote, without claims."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def measured(name: str) -> Any:
    return json.loads((DOCS / "measured" / f"{name}.json").read_text(encoding="utf-8"))


def page(key: str) -> str:
    return " ".join((DOCS / "methods" / f"{key}.md").read_text(encoding="utf-8").split())


def test_the_comparison_of_dcl_on_sentences() -> None:
    found, text = measured("dcl-sentences"), page("dcl")
    for metric, told in {
        "ndcg@10": ("{:.3f}", "in both directions and {} with"),
        "uniformity": ("{:.2f}", "(`uniformity` {} against"),
    }.items():
        form, words = told
        mean = {
            key: statistics.fmean(run["metrics"][metric] for run in arm["runs"])
            for key, arm in found["arms"].items()
        }
        before = found["before"][metric]["mean"]
        assert words.format(form.format(mean["dcl"])) in text
        assert form.format(mean["multiple-negatives"]) in text
        assert f"{form.format(before)} before" in text
    gap = found["differences"]["ndcg@10"]["dcl"]
    assert f"{gap['mean']:.3f} (95 % interval {gap['low']:.3f} to {gap['high']:.3f})" in text


def test_disco_on_passages() -> None:
    found, text = measured("disco-passages"), page("disco")
    for metric, name in {"ndcg@10": "nDCG@10 on test", "mrr@10": "MRR@10"}.items():
        before, after = (found["run"][when]["test"][metric] for when in ("before", "metrics"))
        assert f"{name} from {before:.3f} to {after:.3f}" in text
    index, ranking = (found["search"][name] / 1e6 for name in ("index_bytes", "run_bytes"))
    assert f"{index:.1f} MB (" in text
    assert f"the run {ranking:.1f} MB" in text


def test_the_arms_of_pi_distill_from_several_teachings() -> None:
    found, text = measured("pi-distill-kernels"), page("pi-distill")
    for arm, words in {
        "opsd": "OPSD reached an accuracy of",
        "alpha-0": "The student's term alone reached",
        "rl": "reward alone",
    }.items():
        first, second, third = (f"{run['arms'][arm]['accuracy']:.3f}" for run in found["runs"])
        assert f"{words} {first}, {second} and {third}" in text
    failed, alone = (found["runs"][0]["arms"][arm]["perplexity"] for arm in ("opsd", "rl"))
    assert f"perplexity of {failed:.1f}, under reward alone {alone:.1f}" in text


def test_how_a_server_in_16_bits_rounds() -> None:
    gaps = [step["engine_gap"] for step in measured("vllm-gap")["steps"]]
    text = " ".join((DOCS / "scale.md").read_text(encoding="utf-8").split())
    assert len(gaps) == 4
    assert f"`engine_gap` was {min(gaps):.3f} to {max(gaps):.2f} over four steps" in text


def test_what_compiled_blocks_take() -> None:
    file = DOCS.parent / "benchmarks" / "compiled_blocks.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    seconds = {name: statistics.median(turns) for name, turns in found["processor_seconds_a_step"].items()}
    text = " ".join((DOCS / "scale.md").read_text(encoding="utf-8").split())
    assert f"four rows of {found['tokens']} tokens" in text
    assert (
        f"took {seconds['compiled']:.2f} seconds of processor time, and {seconds['plain']:.2f} without"
        in text
    )
