"""Suggests methods for data, by rules that are written out: the kind of data, its size, what it has. No promise is made.

Each rule says why; the last word has ``compare``, whose command every suggestion comes with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a rule may look at.

    Attributes:
        kind: of data. rows: training rows. labelled: how many of them have a label. classes: how many classes.
        imbalance: largest class over smallest. density: filled share of the interaction matrix.
        captioned: whether images have captions, or vectors beside them.
    """

    kind: str
    rows: int
    labelled: int | None = None
    classes: int | None = None
    imbalance: float | None = None
    density: float | None = None
    captioned: bool = False


@dataclass(frozen=True)
class Suggestion:
    """A method, why it fits, how strongly, and a model it can start from where the kind's default is none for it."""

    key: str
    why: str
    weight: float
    ready: bool = True
    model: str = ""


@dataclass(frozen=True)
class _Rule:
    kind: str
    key: str
    why: str
    weight: float
    when: Callable[[Facts], bool] = lambda facts: True
    model: str = ""


RULES: Sequence[_Rule] = (
    _Rule("images", "clip", "the images have captions: learn which belongs to which; isogclr with bimodal=true is its rival", 6, lambda f: f.captioned),
    _Rule("images", "dcl", "self-supervised and made for small batches, where InfoNCE learns slowly", 3),
    _Rule("images", "multiview", "self-supervised; several views of each image get more out of few images", 4, lambda f: f.rows < 20_000),
    _Rule("images", "multiview", "self-supervised, several views at once; each step costs more", 2, lambda f: f.rows >= 20_000),
    _Rule("images", "isogclr", "the classes are unequal in size: a temperature for every sample", 5, lambda f: (f.imbalance or 1) >= 5),
    _Rule("images", "isogclr", "a temperature for every sample; pays most on long-tailed data, which this is not", 1, lambda f: (f.imbalance or 1) < 5),
    _Rule("images", "sla", "all images have labels: learn them together with the transformation", 3, lambda f: f.labelled == f.rows and f.rows > 0),
    _Rule("images", "krr-st", "for a small synthetic set to pretrain on instead of the whole", 1, lambda f: f.rows >= 5_000),
    _Rule("images", "simclr", "the baseline to beat", 1.5),
    _Rule("interactions", "xsimgcl", "graph contrast in a single propagation; strongest where interactions are sparse", 4, lambda f: (f.density or 0) < 0.05),
    _Rule("interactions", "xsimgcl", "graph contrast; the data is dense, so expect less over LightGCN", 2, lambda f: (f.density or 0) >= 0.05),
    _Rule("interactions", "lightgcn", "the baseline to beat, and the cheapest", 2),
    _Rule("interactions", "simgcl", "the same idea with three propagations: slower, a fair check of xsimgcl", 1),
    _Rule("problems", "unisd", "worked solutions at hand: learn from oneself shown the solution", 4, lambda f: f.rows >= 50),
    _Rule("problems", "sft", "few problems: plain fine-tuning is hard to beat and the baseline in any case", 4, lambda f: f.rows < 50),
    _Rule("problems", "sft", "the baseline to beat", 1.5, lambda f: f.rows >= 50),
    _Rule("problems", "cream", "no trusted answers, or too few: rewards of its own, as far as rounds agree", 2),
    _Rule("problems", "pi-distill", "a hint exists in training that will not exist in use", 2),
    _Rule("problems", "rltf", "written feedback exists, or can be had", 1.5),
    _Rule("problems", "prompt-spo", "the weights must stay as they are: improve the prompt", 1.5),
    _Rule("preferences", "dpo", "pairs at hand, no reward model: the baseline to beat", 3),
    _Rule("preferences", "preference-degree", "when it is known how much better, not only which", 2),
    _Rule("preferences", "selm", "when new answers can be sampled and judged", 2),
    _Rule("preferences", "adpa", "when a larger, preference-tuned teacher exists", 2),
    _Rule("text", "contrastive-primer", "few labels: label names are texts, too", 4, lambda f: (f.labelled or 0) < 2_000),
    _Rule("text", "contrastive-primer", "classes are unequal in size: pretraining helps the rare ones most", 3, lambda f: (f.labelled or 0) >= 2_000 and (f.imbalance or 1) >= 5),
    _Rule("text", "vega", "enough labelled text for careful fine-tuning", 3, lambda f: (f.labelled or 0) >= 2_000, "deberta"),
    _Rule("text", "vega", "texts without a label beside labelled ones: pretrains on all, learns own labels", 2.5, lambda f: 0 < (f.labelled or 0) < min(f.rows, 2_000), "deberta"),
    _Rule("text", "text-classifier", "the baseline to beat: a classifier on the same encoder", 1.5),
    _Rule("text", "tfidf", "weighted words and a linear model: hard to beat where all texts have labels", 2, lambda f: (f.labelled or 0) > 0),
    _Rule("text", "distiller", "a large model works and a small one is wanted", 2),
    _Rule("regression", "supremix", "the target is ordered: mixtures of samples respect the order", 3),
    _Rule("regression", "teacher-guidance", "little, noisy data and a kernel that fits it: closed form", 2, lambda f: f.rows < 5_000),
    _Rule("audio", "speech-varieties", "labelled clips: a contrastive term beside the classes, which pays most where clips are few", 4, lambda f: f.rows < 2_000),
    _Rule("audio", "speech-varieties", "labelled clips: a contrastive term beside the classes; with this many, expect less of it", 2.5, lambda f: f.rows >= 2_000),
    _Rule("audio", "audio-classifier", "the baseline to beat: cross-entropy alone", 2),
    _Rule("audio", "coconut", "classes arrive over time and old ones must not be forgotten", 2),
    _Rule("trajectories", "sirl", "a person can say which two behaviours are alike", 2),
    _Rule("environment", "contrastive-ucb", "rewards are rare and exploration matters", 2),
    _Rule("conversations", "user-interactions", "users answer: learn from their next message", 2),
    _Rule("conversations", "disco", "the goal is retrieval in conversation", 2),
    _Rule("image-text", "vc-star", "image questions with answers", 2),
    _Rule("image-text", "sds-clip", "a diffusion model is at hand to teach a CLIP model", 1),
)  # fmt: skip


def suggestions(facts: Facts, ready: Iterable[str]) -> list[Suggestion]:
    """Suggested methods, the best fit first, ready ones before planned ones.

    >>> [s.key for s in suggestions(Facts("interactions", 50_000, density=0.01), {"xsimgcl", "lightgcn"})][:2]
    ['xsimgcl', 'lightgcn']
    """
    there = set(ready)
    found = [
        Suggestion(rule.key, rule.why, rule.weight, rule.key in there, rule.model)
        for rule in RULES
        if rule.kind == facts.kind and rule.when(facts)
    ]
    return sorted(found, key=lambda s: (not s.ready, -s.weight))


def cautions(facts: Facts) -> list[str]:
    """What the size of the data makes doubtful, in sentences."""
    lines = []
    if 0 < facts.rows < 200:
        lines.append(f"{facts.rows} training rows are few: use at least 10 seeds, and expect wide intervals")
    if facts.kind == "images" and facts.labelled is not None and facts.labelled < 20:
        lines.append("almost no labels: representations can be learnt, and hardly measured")
    if facts.classes is not None and facts.classes < 2:
        lines.append("one class only: nothing that needs labels can be measured")
    return lines


def facts_of(kind: str, data: Any) -> Facts:
    """Read the facts off loaded data; what it does not tell stays unknown."""
    train = data.train
    rows = _length(train)
    labels = getattr(train, "labels", None)
    if kind == "images" and labels is not None:
        known = [int(label) for label in labels.tolist() if label >= 0]
        counts = [known.count(label) for label in set(known)]
        imbalance = max(counts) / min(counts) if counts else None
        captioned = train.captions is not None or train.partners is not None
        return Facts(kind, rows, len(known), len(counts), imbalance, captioned=captioned)
    if kind == "text":
        sizes = [size for size in data.sizes if size]
        return Facts(
            kind, rows, int(train.labelled.sum()), len(sizes), max(sizes) / min(sizes) if sizes else None
        )
    if kind == "audio" and labels is not None:
        sizes = [count for count in labels.bincount().tolist() if count]
        return Facts(kind, rows, rows, len(sizes), max(sizes) / min(sizes))
    if kind == "interactions":
        pairs = len(data.users) * len(data.items)
        return Facts(kind, rows, density=rows / pairs if pairs else None)
    return Facts(kind, rows)


def _length(part: Any) -> int:
    try:
        return len(part)
    except TypeError:
        return 0
