"""The programs themselves, where they are installed, each on a task made here: no network."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.benchmarks.measure import benchmark_figures, require
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.text.folder import fresh_words

SEA, TEA = (
    ["ship", "wave", "tide", "sail", "harbour", "salt"],
    ["kettle", "cup", "leaf", "steam", "milk", "sugar"],
)
OWN = """
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata

SEA, TEA = "ship wave tide sail harbour salt".split(), "kettle cup leaf steam milk sugar".split()


class SeaOrTea(AbsTaskClassification):
    metadata = TaskMetadata(
        name="SeaOrTea", description="Texts of the sea and of tea.", reference=None, type="Classification", category="t2c",
        modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="accuracy",
        dataset={"path": "none", "revision": "none"}, date=None, domains=None, task_subtypes=None, license=None,
        annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
    )
    samples_per_label, n_experiments = 6, 2

    def load_data(self, **kwargs):
        def rows(step):
            texts = [f"{w[i % 6]} {w[(i * 5 + step) % 6]}" for i in range(12) for w in (SEA, TEA)]
            return Dataset.from_dict({"text": texts, "label": [0, 1] * 12})

        self.dataset, self.data_loaded = DatasetDict({"train": rows(1), "test": rows(2)}), True
"""
TASK = """
task: adding
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}="
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.mark.slow
def test_mteb_measures_an_encoder_on_a_task_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    (tmp_path / "own.py").write_text(OWN)
    name, model = f"mteb:{tmp_path}/own.py:SeaOrTea", fresh_words([*SEA, *TEA], 0, seed=0)
    require([name], model)
    (found,) = benchmark_figures([name], model).items()
    assert found[0] == "mteb:SeaOrTea accuracy"
    assert found[1] > 0.6, "word vectors tell two sets of words apart"
    with pytest.raises(CounterpointError, match="did you mean 'Banking77Classification'"):
        require(["mteb:Banking77Clasification"])


@pytest.mark.slow
def test_lm_eval_measures_a_language_model_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"question": f"{a}+{b}", "choices": [str(a + b), str(a + b + 1)], "answer": 0}
        for a in range(3)
        for b in range(4)
    ]
    (tmp_path / "adding.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "adding.yaml").write_text(textwrap.dedent(TASK.format(file=tmp_path / "adding.json")))
    name, model = f"lm-eval:{tmp_path}/adding.yaml", tiny(seed=0)
    require([name], model)
    found = benchmark_figures([name], model)
    assert set(found) == {"lm-eval:adding acc"}
    hits = [
        score(model, f"{row['question']}=", row["choices"][0])
        > score(model, f"{row['question']}=", row["choices"][1])
        for row in rows
    ]
    assert found["lm-eval:adding acc"] == pytest.approx(sum(hits) / len(hits))
    assert 0 < sum(hits) < len(hits)


@torch.no_grad()
def score(model: Language, question: str, answer: str) -> float:
    """Log-probability of an answer after a question, token by token."""
    ids = model.tokenizer(question + answer, return_tensors="pt", add_special_tokens=False).input_ids
    logs = model.causal(ids).logits[0].log_softmax(-1)
    return sum(float(logs[at - 1, ids[0, at]]) for at in range(len(question), ids.shape[1]))
