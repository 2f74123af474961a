"""DiSCo: a whole step by loops, every gradient row by row; candidates, teachers from data, models and runs; what cannot work."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import conversation_folder
import counterpoint
from counterpoint.data.retrieval import Retrieval, load_retrieval
from counterpoint.errors import CounterpointError
from counterpoint.methods.disco import DiSCo
from counterpoint.models.language.characters import tiny
from counterpoint.models.retrieval.sparse import SparseRetriever
from counterpoint.phases.retrieval import candidates as candidates_module
from counterpoint.tasks.task import task
from counterpoint.training import Budget, Run

SMALL: dict[str, Any] = {
    "batch_size": 5, "learning_rate": 0.1, "optimizer": {"name": "sgd", "schedule": "constant", "warmup": 0.0, "max_grad_norm": None},
    "negatives.count": 3, "negatives.skip": 1, "epochs": 9.0,
}  # fmt: skip


@pytest.fixture
def dishes(tmp_path: Path) -> Retrieval:
    return load_retrieval(conversation_folder.write(tmp_path / "dishes"))


def fresh(data: Retrieval) -> SparseRetriever:
    model = task("retrieval").load_model("sparse-words", data, 0)
    assert isinstance(model, SparseRetriever)
    return model


def train(
    out: Path, data: Retrieval, steps: int = 1, **settings: Any
) -> tuple[SparseRetriever, list[dict[str, Any]]]:
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as run:
        model = DiSCo.settings(**{**SMALL, **settings}).fit(fresh(data), data, run)
    return model, [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def vector(model: SparseRetriever, encoder: Any, text: str) -> torch.Tensor:
    """A text's vector from whole logits."""
    tokens = encoder.tokenize([text], 256)
    logits = encoder.net(input_ids=tokens.ids, attention_mask=tokens.mask).logits[0]
    return torch.log1p(logits.relu()).max(0).values


WAYS: dict[str, dict[str, Any]] = {
    "scores": {},
    "several": {"weights.contrast": 0.3, "weights.margins": 0.02, "temperature": 2.0},
    "vectors": {"weights.scores": 0.0, "weights.vectors": 2.0},
    "contrastive": {"weights.scores": 0.0, "weights.contrast": 1.0},
    "l1": {"sparsity.weight": 0.05, "sparsity.steps": 2},
    "flops": {"sparsity.weight": 0.05, "sparsity.penalty": "flops", "reads": "query"},
    "max": {"teacher.fusion": "max", "negatives.positive": "highest"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_its_equations_row_by_row(
    tmp_path: Path, dishes: Retrieval, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """From the candidates that were drawn: vectors, both scores and every term by loops; then each weight after one step."""
    drawn: list[tuple[list[int], torch.Tensor]] = []
    draw = candidates_module.Candidates.draw

    def watched(self: Any, rows: Sequence[int], uniform: torch.Tensor) -> Any:
        documents, scores = draw(self, rows, uniform)
        drawn.append((list(rows), documents))
        return documents, scores

    monkeypatch.setattr(candidates_module.Candidates, "draw", watched)
    chosen = WAYS[way]
    trained, (event,) = train(tmp_path / "run", dishes, **chosen)
    rows, documents = drawn[0]
    model = fresh(dishes)
    student, fixed = model.queries.eval(), fresh(dishes).documents.eval()
    queries = dishes.train.queries
    separator = student.tokenizer.sep_token
    table = [vector(model, fixed, text).detach() for text in dishes.documents]
    fusion = max if chosen.get("teacher.fusion") == "max" else lambda each: sum(each) / len(each)

    def teacher_scores(query: int) -> list[float]:
        texts = [each[query] for each in dishes.rewrites.values()]
        vectors = [vector(model, fixed, str(text)).detach() for text in texts]
        return [float(fusion([float(v @ d) for v in vectors])) for d in table]

    vectors, terms = [], []
    weights = {"scores": 1.0, "contrast": 0.0, "margins": 0.0, "vectors": 0.0}
    weights |= {key.split(".")[1]: value for key, value in chosen.items() if key.startswith("weights.")}
    temperature = chosen.get("temperature", 1.0)
    for row in rows:
        query = queries[row]
        parts = [dishes.queries[query]] if chosen.get("reads") == "query" else dishes.conversation(query)
        vectors.append(vector(model, student, separator.join(parts)))
    negatives = [table[int(d)] for each in documents for d in each[1:]]
    for at, row in enumerate(rows):
        query, some = queries[row], [int(d) for d in documents[at]]
        s = torch.stack([vectors[at] @ table[d] for d in some])
        every = teacher_scores(query)
        t = [every[d] for d in some]
        if chosen.get("negatives.positive") == "highest":
            order = sorted(range(len(every)), key=lambda d: -every[d])
            if order.index(some[0]) < 1:
                t[0] = every[order[1]]
        p = torch.tensor(t) / temperature
        term = (
            weights["scores"] * (p.softmax(0) * (p.log_softmax(0) - (s / temperature).log_softmax(0))).sum()
        )
        against = torch.stack([vectors[at] @ d for d in negatives])
        term = term - weights["contrast"] * torch.cat([s[:1], against]).log_softmax(0)[0]
        gaps = [((s[i] - s[j]) - (t[i] - t[j])) ** 2 for i in range(4) for j in range(4)]
        term = term + weights["margins"] * torch.stack(gaps).mean()
        rewritten = torch.stack(
            [vector(model, fixed, str(each[query])).detach() for each in dishes.rewrites.values()]
        )
        term = term + weights["vectors"] * (vectors[at] - rewritten.mean(0)).square().mean()
        terms.append(term)
    total = torch.stack(terms).mean() + 1 / torch.stack(vectors).sum() ** 2
    if "sparsity.weight" in chosen:
        together = torch.stack(vectors)
        whole = (
            (together.mean(0) ** 2).sum()
            if chosen.get("sparsity.penalty") == "flops"
            else together.sum(1).mean()
        )
        total = total + 0.05 * (1 / 9 if "sparsity.steps" in chosen else 1.0) * whole
    total.backward()
    assert event["loss"] == pytest.approx(float(total.detach()), rel=1e-4)
    moved = 0
    for (name, start), after in zip(student.named_parameters(), trained.queries.parameters(), strict=True):
        step = torch.zeros_like(start) if start.grad is None else 0.1 * start.grad
        torch.testing.assert_close(
            start.detach() - after.detach(),
            step,
            rtol=2e-3,
            atol=2e-6,
            msg=lambda text, name=name: f"{name}: {text}",
        )
        moved += bool(step.abs().max() > 1e-4)
    assert moved > 5


def test_documents_stay_and_conversations_move(tmp_path: Path, dishes: Retrieval) -> None:
    trained, _ = train(tmp_path / "run", dishes, steps=2)
    start = fresh(dishes)
    for before, after in zip(start.documents.parameters(), trained.documents.parameters(), strict=True):
        assert torch.equal(before, after)
    changed = [
        not torch.equal(a, b) for a, b in zip(start.queries.parameters(), trained.queries.parameters())
    ]
    assert any(changed)
    assert trained.queries is not trained.documents


def test_training_brings_the_rewrites_ranking(tmp_path: Path, dishes: Retrieval) -> None:
    adam = {"name": "adam", "schedule": "constant", "warmup": 0.0}
    _, events = train(tmp_path / "run", dishes, steps=40, learning_rate=0.01, optimizer=adam)
    losses = [event["loss/scores"] for event in events]
    assert sum(losses[-8:]) < 0.4 * sum(losses[:8])
    assert all(event["scores/nonzeros"] > 0 for event in events)


def test_a_run_file_is_a_teacher(tmp_path: Path, dishes: Retrieval) -> None:
    """Its scores are the targets, in its own range or in that of the rewrites; what it does not rank is no candidate."""
    lines = [
        f"{dishes.query_ids[query]} Q0 {dishes.document_ids[at]} {at + 1} {100 - at} bm25"
        for query in dishes.train.queries
        for at in range(12)
    ]
    path = tmp_path / "bm25.run"
    path.write_text("\n".join(lines) + "\n")
    losses = {}
    for rescale in (False, True):
        _, (event,) = train(
            tmp_path / f"run-{rescale}", dishes, **{"teacher.run": str(path), "teacher.rescale": rescale}
        )
        losses[rescale] = event["loss/scores"]
    assert losses[False] != losses[True]
    path.write_text("\n".join(lines[:-12]) + "\n")
    with pytest.raises(CounterpointError, match="ranks nothing for the training query"):
        train(tmp_path / "short", dishes, **{"teacher.run": str(path)})
    path.write_text("\n".join(lines).replace(" d3 ", " nowhere ") + "\n")
    with pytest.raises(CounterpointError, match="'nowhere', which is not in the data"):
        train(tmp_path / "other", dishes, **{"teacher.run": str(path)})


def test_a_model_rewrites_once_and_is_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_retrieval(conversation_folder.write(tmp_path / "plain", rewrites=False))
    tiny(seed=0).save(tmp_path / "writer")
    settings = {
        "teacher.rewriters": (str(tmp_path / "writer"),),
        "teacher.max_new_tokens": 4,
        "teacher.template": "{conversation}\n",
    }
    _, (event,) = train(tmp_path / "run", data, **settings)
    assert math.isfinite(event["loss/scores"])
    assert event["loss/scores"] > 0  # a divergence from a teacher that read something else
    stages = sorted(path.name for path in (tmp_path / "run" / "stages").iterdir())
    assert stages == ["documents", "rewrites-0", "rewritten-0", "teacher"]


def test_several_teachers_are_fused(tmp_path: Path, dishes: Retrieval) -> None:
    losses = {
        names: train(tmp_path / "-".join(names), dishes, **{"teacher.rewriters": names})[1][0]["loss"]
        for names in (("data:person",), ("data:noisy",), ("data:person", "data:noisy"), ("data",))
    }
    assert losses["data:person", "data:noisy"] == pytest.approx(losses["data",], rel=1e-6)
    assert len({round(each, 6) for each in losses.values()}) == 3


def test_the_folder_opens_everywhere(tmp_path: Path, dishes: Retrieval) -> None:
    from transformers import AutoModelForMaskedLM

    trained, _ = train(tmp_path / "run", dishes, steps=2)
    task("retrieval").save_model(trained, tmp_path / "model")
    again = counterpoint.load(tmp_path / "model")
    assert isinstance(again, SparseRetriever)
    assert again.shape == trained.shape
    for encode in ("encode_queries", "encode_documents"):
        one, other = (getattr(each, encode)(["honey from the garden"]).dense() for each in (trained, again))
        assert torch.equal(one, other)
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    assert torch.equal(
        plain.get_output_embeddings().weight, trained.queries.net.get_output_embeddings().weight
    )
    assert {"modules.json", "1_SpladePooling", "documents"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"weights.scores": 0.0}, "no term has a weight"),
        ({"temperature": 0.0}, "above 0"),
        ({"negatives.count": 0}, "negatives.count=0"),
        ({"negatives.skip": 19}, "leave no negatives"),
        ({"negatives.depth": 1}, "rank more"),
        ({"query_tokens": 2}, "query_tokens=2"),
        ({"teacher.rewriters": ()}, "teacher.rewriters is empty"),
        ({"teacher.rewriters": ("data:persn",)}, "persn.*person"),
        ({"teacher.run": "nowhere.run"}, "there is no run"),
        ({"learning_rate": math.nan}, "learning_rate"),
    ],
)
def test_what_cannot_work_is_said(
    tmp_path: Path, dishes: Retrieval, settings: dict[str, Any], match: str
) -> None:
    with pytest.raises(CounterpointError, match=match):
        train(tmp_path / "run", dishes, **settings)


def test_data_without_rewrites_or_with_holes(tmp_path: Path) -> None:
    none = load_retrieval(conversation_folder.write(tmp_path / "none", rewrites=False))
    with pytest.raises(CounterpointError, match="the data has no rewrites"):
        train(tmp_path / "run", none)
    folder = conversation_folder.write(tmp_path / "holes")
    lines = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    lines[0]["rewrites"].pop("noisy")
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CounterpointError, match="'q0' has no rewrite by 'noisy'"):
        train(tmp_path / "other", load_retrieval(folder))
