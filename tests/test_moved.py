"""Imports that pages printed before modules moved go on working, with the same objects and a warning that says where."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from counterpoint._moved import MOVED

PRINTED = {
    "counterpoint.data.audio": "load_audio",
    "counterpoint.data.images": "load_images",
    "counterpoint.data.interactions": "load_interactions",
    "counterpoint.data.preferences": "load",
    "counterpoint.data.problems": "load",
    "counterpoint.data.regression": "load_regression",
    "counterpoint.data.text": "load_texts",
    "counterpoint.evaluation.classification": "class_logits",
    "counterpoint.evaluation.features": "features",
    "counterpoint.evaluation.regression": "predict",
    "counterpoint.evaluation.speech": "vectors",
    "counterpoint.evaluation.text": "classify",
    "counterpoint.evaluation.understanding": "understand",
    "counterpoint.kernels.config": "kernel_path",
    "counterpoint.methods.audio_classifier": "AudioClassifier",
    "counterpoint.methods.clip": "CLIP",
    "counterpoint.methods.coconut": "Coconut",
    "counterpoint.methods.contrastive_primer": "ContrastivePrimer",
    "counterpoint.methods.contrastive_ucb": "ContrastiveUCB",
    "counterpoint.methods.cream": "CREAM",
    "counterpoint.methods.dcl": "DCL",
    "counterpoint.methods.dpo": "DPO",
    "counterpoint.methods.gkd": "GKD",
    "counterpoint.methods.isogclr": "ISogCLR",
    "counterpoint.methods.lightgcn": "LightGCN",
    "counterpoint.methods.multiview": "MultiView",
    "counterpoint.methods.multiview_pairwise": "MultiViewPairwise",
    "counterpoint.methods.regression": "PlainRegression",
    "counterpoint.methods.sdft": "SDFT",
    "counterpoint.methods.self_rewarding": "SelfRewarding",
    "counterpoint.methods.sft": "SFT",
    "counterpoint.methods.sgl": "SGL",
    "counterpoint.methods.simclr": "SimCLR",
    "counterpoint.methods.simgcl": "SimGCL",
    "counterpoint.methods.sirl": "SIRL",
    "counterpoint.methods.sla": "SLA",
    "counterpoint.methods.speech_varieties": "SpeechVarieties",
    "counterpoint.methods.supremix": "SupReMix",
    "counterpoint.methods.text_classifier": "SupervisedText",
    "counterpoint.methods.tfidf": "TfidfLinear",
    "counterpoint.methods.unisd": "UniSD",
    "counterpoint.methods.vega": "Vega",
    "counterpoint.methods.xsimgcl": "XSimGCL",
    "counterpoint.models.adapters": "LoRA",
    "counterpoint.models.characters": "tiny",
    "counterpoint.models.language": "load",
    "counterpoint.models.likelihood": "completion_log_probs",
    "counterpoint.models.recommender": "Recommender",
    "counterpoint.models.vision": "load_encoder",
    "counterpoint.pairs.views": "Augmentation",
    "counterpoint.study.query_session": "ask_similarities",
    "counterpoint.study.task": "task",
    "counterpoint.training": "Run",
}
"""Every import of the README and the pages before the move."""


@pytest.mark.parametrize(("module", "name"), PRINTED.items())
def test_a_printed_import_works(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    assert callable(found)
    if module in MOVED:
        assert found is getattr(importlib.import_module(MOVED[module]), name)


@pytest.mark.parametrize("module", MOVED)
def test_every_moved_module_is_the_new_one(module: str) -> None:
    assert importlib.import_module(module) is importlib.import_module(MOVED[module])


def test_the_warning_says_where_it_is_now() -> None:
    code = "import counterpoint.models.vision"
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "counterpoint.models.vision is now counterpoint.models.images.encoders" in done.stderr
