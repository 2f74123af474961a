"""Suggests methods for data, by rules that are written out: the kind of data, its size, what it has; or by records, where those
choose better. No promise is made.

Each rule says why; the last word has ``compare``, whose command every suggestion comes with.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.methods import catalog
from counterpoint.methods.groups import value_of
from counterpoint.study.during.checks import batch_setting, smaller_batch
from counterpoint.study.settings_search.learnt import Learnt, learn
from counterpoint.study.settings_search.record import numbers_of
from counterpoint.tasks import recognise
from counterpoint.tasks.facts import Facts
from counterpoint.tasks.task import facts_of, open_data, task

__all__ = [
    "RULES",
    "Facts",
    "Recommendation",
    "Suggestion",
    "cautions",
    "facts_of",
    "recommend",
    "suggestions",
]

FEW, MANY_SEEDS = 200, 10
"""With fewer training rows than this, this many seeds are named."""


@dataclass(frozen=True)
class Suggestion:
    """A method, why it fits, how strongly, and a model it can start from where the kind's default is none for it.

    ``refused``: why its usual settings cannot learn from these data, empty where they can.
    """

    key: str
    why: str
    weight: float
    ready: bool = True
    model: str = ""
    refused: str = ""


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
    _Rule("pictures", "self-e", "prompts at hand, and few steps are wanted: one model for any number of them", 3, lambda f: (f.classes or 0) > 1 or f.captioned),
    _Rule("pictures", "flow-matching", "the baseline to beat; also where there are no prompts", 2),
    _Rule("styles", "stydeco", "pictures of two domains: a generator for both directions, which needs no pairs", 3),
    _Rule("interactions", "xsimgcl", "graph contrast in a single propagation; strongest where interactions are sparse", 4, lambda f: (f.density or 0) < 0.05),
    _Rule("interactions", "xsimgcl", "graph contrast; the data is dense, so expect less over LightGCN", 2, lambda f: (f.density or 0) >= 0.05),
    _Rule("interactions", "lightgcn", "the baseline to beat, and the cheapest", 2),
    _Rule("interactions", "simgcl", "the same idea with three propagations: slower, a fair check of xsimgcl", 1),
    _Rule("problems", "unisd", "worked solutions at hand: learn from oneself shown the solution", 4, lambda f: f.rows >= 50 and f.worked),
    _Rule("problems", "unisd", "no worked solutions: learn from oneself shown the answer, where there is one", 3, lambda f: f.rows >= 50 and not f.worked),
    _Rule("problems", "sft", "few problems: plain fine-tuning is hard to beat and the baseline in any case", 4, lambda f: f.rows < 50),
    _Rule("problems", "sft", "the baseline to beat", 1.5, lambda f: f.rows >= 50),
    _Rule("problems", "cream", "no trusted answers, or too few: rewards of its own, as far as rounds agree", 2),
    _Rule("problems", "pi-distill", "a hint exists in training that will not exist in use", 2),
    _Rule("problems", "rltf", "written feedback exists, or can be had", 1.5),
    _Rule("problems", "user-interactions", "users answer: learn from their next message", 1.5),
    _Rule("problems", "suboptimal-onpolicy", "a judge exists, and it is open how to learn from it: on policy or off, pushing down or only up", 1.5),
    _Rule("problems", "prompt-spo", "the weights must stay as they are: improve the prompt", 1.5),
    _Rule("problems", "vc-star", "questions about images with answers: rationales corrected by similar images", 3, lambda f: f.pictured),
    _Rule("preferences", "dpo", "pairs at hand, no reward model: the baseline to beat", 3),
    _Rule("preferences", "preference-degree", "when it is known how much better, not only which", 2),
    _Rule("preferences", "selm", "when new answers can be sampled and judged", 2),
    _Rule("preferences", "adpa", "when a larger, preference-tuned teacher exists", 2),
    _Rule("retrieval", "grace", "dense vectors: rationales before embedding, or contrast alone with objective=contrastive", 2),
    _Rule("retrieval", "disco", "sparse vectors: queries are turns of conversations, with rewrites or a model that writes them", 2),
    _Rule("sentence-pairs", "multiple-negatives", "pairs that belong together: the baseline to beat, and the usual start", 3, lambda f: not f.scored),
    _Rule("sentence-pairs", "dcl", "pairs in small batches, where InfoNCE learns slowly", 2.5, lambda f: not f.scored),
    _Rule("sentence-pairs", "sentence-triplet", "every row has a negative of its own; looks at no other row of the batch", 1.5, lambda f: (f.negatives or 0) > 0),
    _Rule("sentence-pairs", "cosent", "scores say how alike two sentences are: cosines in their order, or with loss=mse equal to them", 3, lambda f: f.scored),
    _Rule("text", "contrastive-primer", "few labels: label names are texts, too", 4, lambda f: (f.labelled or 0) < 2_000),
    _Rule("text", "contrastive-primer", "classes are unequal in size: pretraining helps the rare ones most", 3, lambda f: (f.labelled or 0) >= 2_000 and (f.imbalance or 1) >= 5),
    _Rule("text", "vega", "enough labelled text for careful fine-tuning", 3, lambda f: (f.labelled or 0) >= 2_000, "deberta"),
    _Rule("text", "vega", "texts without a label beside labelled ones: pretrains on all, learns own labels", 2.5, lambda f: 0 < (f.labelled or 0) < min(f.rows, 2_000), "deberta"),
    _Rule("text", "text-classifier", "the baseline to beat: a classifier on the same encoder", 1.5),
    _Rule("text", "tfidf", "weighted words and a linear model: hard to beat where all texts have labels", 2, lambda f: (f.labelled or 0) > 0),
    _Rule("text", "distiller", "a large model works and a small one is wanted", 2),
    _Rule("text", "autodistil", "a small encoder for a budget of operations is wanted, and it is open of which sizes; needs no labels", 1),
    _Rule("regression", "supremix", "the target is ordered: mixtures of samples respect the order", 3),
    _Rule("regression", "teacher-guidance", "little, noisy data and a kernel that fits it: closed form", 2, lambda f: f.rows < 5_000),
    _Rule("audio", "speech-varieties", "labelled clips: a contrastive term beside the classes, which pays most where clips are few", 4, lambda f: f.rows < 2_000),
    _Rule("audio", "speech-varieties", "labelled clips: a contrastive term beside the classes; with this many, expect less of it", 2.5, lambda f: f.rows >= 2_000),
    _Rule("audio", "audio-classifier", "the baseline to beat: cross-entropy alone", 2),
    _Rule("audio", "coconut", "classes arrive over time and old ones must not be forgotten", 2),
    _Rule("trajectories", "sirl", "a person can say which two behaviours are alike", 2),
    _Rule("environment", "contrastive-ucb", "rewards are rare and exploration matters", 2),
    _Rule("captioned", "sds-clip", "captions must be told from captions of the same words: a text-to-image denoiser teaches a CLIP model", 2),
)  # fmt: skip


def suggestions(facts: Facts, ready: Iterable[str]) -> list[Suggestion]:
    """Suggested methods, the best fit first, ready ones before planned ones.

    >>> [s.key for s in suggestions(Facts("interactions", 50_000, density=0.01), {"xsimgcl", "lightgcn"})][:2]
    ['xsimgcl', 'lightgcn']
    """
    there = set(ready)
    result = [
        Suggestion(rule.key, rule.why, rule.weight, rule.key in there, rule.model)
        for rule in RULES
        if rule.kind == facts.kind and rule.when(facts)
    ]
    return sorted(result, key=lambda s: (not s.ready, -s.weight))


def cautions(facts: Facts) -> list[str]:
    """What the size of the data makes doubtful, in sentences."""
    lines = []
    if 0 < facts.rows < FEW:
        lines.append(
            f"{facts.rows} training rows are few: use at least {MANY_SEEDS} seeds, and expect wide intervals"
        )
    lines += facts.doubts
    if facts.classes is not None and facts.classes < 2:
        lines.append("one class only: nothing that needs labels can be measured")
    return lines


@dataclass(frozen=True)
class Recommendation:
    """What ``recommend`` found: facts of the data, methods that fit, doubts, the command that settles it, and what records say."""

    facts: Facts
    suggestions: list[Suggestion]
    cautions: list[str]
    command: str
    learnt: Learnt


def recommend(
    data: str, *, kind: str | None = None, data_options: Mapping[str, Any] | None = None
) -> Recommendation:
    """Suggest methods for data by its kind and size. Rules of thumb: the last word has a comparison.

    Args:
        data: a bundled name, or a path.
        kind: of the data, where it cannot be recognised.
        data_options: the loader's.

    Raises:
        CounterpointError: the kind cannot be recognised, or the data cannot be loaded.
    """
    given = kind
    kind = kind or recognise.kind_of(data, data_options or ())
    loaded = open_data(task(kind), data, data_options)
    facts = facts_of(kind, loaded)
    ready = [key for key, row in catalog.rows().items() if row.ready]
    suggested = [replace(each, refused=_refusal(each, loaded)) for each in suggestions(facts, ready)]
    suggested.sort(key=lambda each: bool(each.refused))

    def ruled(given: Mapping[str, float]) -> list[str]:
        rest = {name: given[name] for name in ("density", "imbalance") if name in given}
        whole = {name: int(given[name]) for name in ("labelled", "classes") if name in given}
        return [s.key for s in suggestions(Facts(kind, int(given.get("rows", 0)), **whole, **rest), ready)]  # type: ignore[arg-type]

    records = learn(kind, numbers_of(facts), [s.key for s in suggested if s.ready], ruled)
    if records.speaks:
        suggested.sort(key=lambda s: (bool(s.refused), not s.ready, -records.foretold.get(s.key, (0.0,))[0]))
    chosen = [suggestion for suggestion in suggested if suggestion.ready and not suggestion.refused][:3]
    # A method's own kind needs no flag; --kind is repeated only where it differs from what the methods learn from.
    differs = given is not None and any(catalog.row(suggestion.key).kind != given for suggestion in chosen)
    return Recommendation(
        facts,
        suggested,
        cautions(facts),
        _command(data, chosen, kind if differs else None, data_options or {}, facts),
        records,
    )


def _refusal(suggestion: Suggestion, data: Any) -> str:
    """What a method says of data that it cannot learn from; empty where it says nothing."""
    try:
        if suggestion.ready:
            catalog.load(suggestion.key)().check(data)
    except CounterpointError as error:
        return str(error)
    return ""


def _seeds(facts: Facts) -> int:
    return MANY_SEEDS if 0 < facts.rows < FEW else 5


def _command(
    data: str, chosen: Sequence[Suggestion], kind: str | None, data_options: Mapping[str, Any], facts: Facts
) -> str:
    """A command for a POSIX shell that compares what was chosen on the data as they were loaded."""
    several = len(chosen) > 1
    words = ["counterpoint", "compare" if several else "run"]
    words += [suggestion.key for suggestion in chosen] or ["KEY"]
    words += ["--data", data]
    for name, value in data_options.items():
        words += ["--data-option", f"{name}={value}"]
    if kind is not None:
        words += ["--kind", kind]
    model = next((suggestion.model for suggestion in chosen if suggestion.model), "")
    words += ["--model", model] if model else []
    for suggestion in chosen:
        setting = _batch_to_fill(suggestion.key, facts)
        if setting is not None:
            words += ["--set", f"{suggestion.key}.{setting}" if several else setting]
    words += ["--seeds", str(_seeds(facts)), "--trials", "8"] if several else []
    words += ["--steps", "500", "--out", "comparison" if several else "run"]
    return shlex.join(words)


def _batch_to_fill(key: str, facts: Facts) -> str | None:
    """``setting=rows`` for a method whose usual batch has more rows than there are."""
    method = catalog.load(key)()
    setting = batch_setting(method, facts.kind)
    if setting is None or not 0 < facts.rows < value_of(method, setting):
        return None
    return f"{setting}={smaller_batch(facts.rows)}"
