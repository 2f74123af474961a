"""The case of vega: each trick by itself, where it should show: wrong labels, few labels, and texts without any.

News is told apart by its first 32 words. A third of the labels is wrong in the first part, sixty are given in the second; the
third pretrains a small encoder with disentangled attention from nothing, on leads of an encyclopedia.
"""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

RATES = {"learning_rate": [5e-4, 1e-3]}
OFF = {
    "replaced_tokens": False,
    "sentence_contrast": False,
    "self_calibrated": False,
    "adversarial": False,
    "transductive": False,
}
NOISY = {"words": 32, "limit": 240, "mislabelled": 0.3}
FEW = {"words": 32, "limit": 1000, "labelled": 60}
STEPS, FOLDS = 60, 3


def arm(data: dict[str, Any], steps: int, **settings: Any) -> Arm:
    """Tuning of the public encoder: plain classification, or Vega with the settings' tricks and no other."""
    method, own = ("vega", OFF | settings) if settings else ("text-classifier", {})
    return Arm(
        method=method,
        settings={**own, "batch_size": 16},
        tune=RATES,
        data_options=data,
        budget={"steps": steps},
    )


def pretrained(steps: int, **settings: Any) -> Arm:
    """Pretraining alone, measured by a probe."""
    return Arm(
        method="vega",
        settings={"fine_tuning": False, "batch_size": 32, **settings},
        tune={"pretraining_learning_rate": [5e-4, 1e-3]} if steps > 1 else {},
        data="wiki-vital",
        model="deberta",
        data_options={"words": 32, "limit": 3000},
        budget={"steps": steps},
    )


def measure(model: Any, data: Any, split: str, seed: int) -> dict[str, float]:
    """A classifier's certainty, and its accuracy on the training texts whose labels were hidden; an encoder's vectors."""
    import torch

    from counterpoint.evaluation.certainty import answer_change, calibration_error
    from counterpoint.evaluation.sentences import sentence_figures, wrong_word_auc
    from counterpoint.evaluation.text import outputs
    from counterpoint.models.text import TextClassifier

    names = (
        "asked_accuracy", "asked_less_unseen", "calibration_error", "answer_change", "retrieval", "uniformity", "wrong_word_auc",
    )  # fmt: skip
    found = dict.fromkeys(names, float("nan"))
    part = data.splits()[split].known()
    if not isinstance(model, TextClassifier):
        texts = part.texts[:300]
        figures = sentence_figures(model, texts)
        return found | {
            "retrieval": figures["retrieval"],
            "uniformity": figures["uniformity"],
            "wrong_word_auc": wrong_word_auc(model, texts, seed=seed),
        }
    logits = outputs(model, part.texts, out="logits")
    found["calibration_error"] = calibration_error(logits, part.labels)
    found["answer_change"] = answer_change(model, part.texts, seed=seed)
    hidden = torch.nonzero(~data.train.labelled)[:, 0]
    if len(hidden) and data.truth is not None:
        said = outputs(model, data.train[hidden].texts, out="logits").argmax(1)
        found["asked_accuracy"] = float((said == data.truth[hidden].int().argmax(1)).float().mean())
        unseen = float((logits.argmax(1) == part.labels).float().mean())
        found["asked_less_unseen"] = found["asked_accuracy"] - unseen
    return found


MENDING = {"self_calibrated": True, "folds": FOLDS}

CASE = Case(
    key="vega",
    data="bbc-news",
    data_options=NOISY,
    model="bert-tiny",
    budget={"steps": STEPS},
    seeds=5,
    trials=2,
    baseline="noisy: plain",
    arms={
        "noisy: plain": arm(NOISY, STEPS),
        "noisy: plain, four times the steps": arm(NOISY, STEPS * (FOLDS + 1)),
        "noisy: judged in-sample": arm(NOISY, STEPS * 2, self_calibrated=True, folds=1),
        "noisy: mended": arm(NOISY, STEPS * (FOLDS + 1), **MENDING),
        "noisy: blended": arm(NOISY, STEPS * (FOLDS + 1), **MENDING, mending="soft"),
        "few: plain": arm(FEW, STEPS),
        "few: plain, twice the steps": arm(FEW, STEPS * 2),
        "few: own labels": arm(FEW, STEPS * 2, transductive=True, inputs="unlabelled"),
        "few: adversarial": arm(FEW, STEPS, adversarial=True),
        "texts: untrained": pretrained(1, pretraining_learning_rate=0.0),
        "texts: replaced tokens": pretrained(90, sentence_contrast=False),
        "texts: then contrast": pretrained(90),
    },
    metrics=(
        "macro_ap",
        "accuracy",
        "asked_accuracy",
        "asked_less_unseen",
        "calibration_error",
        "answer_change",
        "retrieval",
        "uniformity",
        "wrong_word_auc",
    ),
    measure=measure,
    claims=(
        Claim.better(
            "with a third of the labels wrong, mending them out of fold raises accuracy",
            "noisy: mended",
            "noisy: plain",
            metric="accuracy",
        ),
        Claim.better(
            "and does so against plain tuning with as many steps in all",
            "noisy: mended",
            "noisy: plain, four times the steps",
            metric="accuracy",
        ),
        Claim.better(
            "blending labels with out-of-fold predictions does, too",
            "noisy: blended",
            "noisy: plain",
            metric="accuracy",
        ),
        Claim.better(
            "predictions of examples that were trained on mend less",
            "noisy: mended",
            "noisy: judged in-sample",
            metric="accuracy",
        ),
        Claim.better(
            "with sixty labels, own labels raise accuracy on the inputs they were made for",
            "few: own labels",
            "few: plain, twice the steps",
            metric="asked_accuracy",
        ),
        Claim.better(
            "and on texts that were never seen",
            "few: own labels",
            "few: plain, twice the steps",
            metric="accuracy",
        ),
        Claim(
            text="the gain is larger on the inputs than on unseen texts",
            contrast={"few: own labels": 1.0, "few: plain, twice the steps": -1.0},
            metric="asked_less_unseen",
        ),
        Claim.better(
            "adversarial tuning raises accuracy with sixty labels",
            "few: adversarial",
            "few: plain",
            metric="accuracy",
        ),
        Claim(
            text="its answers change less under noise on the embeddings",
            contrast={"few: plain": 1.0, "few: adversarial": -1.0},
            metric="answer_change",
        ),
        Claim(
            text="its calibration error is lower",
            contrast={"few: plain": 1.0, "few: adversarial": -1.0},
            metric="calibration_error",
        ),
        Claim.better(
            "at equal steps, replaced tokens and then sentence contrast make better sentence vectors than replaced tokens alone",
            "texts: then contrast",
            "texts: replaced tokens",
        ),
        Claim.better(
            "and a text's first half finds the second more often",
            "texts: then contrast",
            "texts: replaced tokens",
            metric="retrieval",
        ),
        Claim.better(
            "and its token states tell wrong words as well, to within 0.02",
            "texts: then contrast",
            "texts: replaced tokens",
            metric="wrong_word_auc",
            above=-0.02,
        ),
    ),
    notes=(
        "an encoder of 4.4 million weights and a few hundred news texts, cut to 32 words; the report tunes 1.3 billion weights",
        "each trick alone, with its own number of steps; 'noisy' has 240 labels of which 30 % are wrong, 'few' 60 labels and 940 "
        "further texts; three folds instead of five, to keep this short",
        "'texts' pretrains on 3,000 leads of 32 words, 90 steps of 32, about one pass, and is measured by a probe for their "
        "subject; published encoders are pretrained on many thousand times as much",
        "asked_accuracy is on the training texts whose labels were hidden, which own labels were made for; accuracy on unseen texts",
        "every tuned arm tries its method's own learning rate, 5e-4 and 2e-4 (pretraining: 5e-4 and 1e-3) on validation",
        "wrong_word_auc: a linear probe on token states that tells words replaced at random; retrieval: by the other half of a text",
    ),
)
