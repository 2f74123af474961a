"""autodistil: a step is the sum of its students' losses, parts cut out answer as they did, limits hold, folders open elsewhere."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.text.load import Texts, load_texts
from counterpoint.errors import CounterpointError
from counterpoint.methods import autodistil
from counterpoint.methods.autodistil import AutoDistil
from counterpoint.models.text.elastic.architecture import Architecture, Sizes, space_of
from counterpoint.models.text.elastic.super_network import cut, part_of, sizes_of
from counterpoint.models.text.transformer import TransformerText, fresh_transformer, open_transformer
from counterpoint.models.text.words import WordEncoder, vocabulary
from counterpoint.objectives.distillation.relations import relation_loss
from counterpoint.study.report.front_plot import drawing, pareto
from counterpoint.training import Budget, Run
from texts_made_up import rows, write_csv

SPACES = ("layers=2-3 width=12-16/4 ratio=2-3 heads=2-4/2", "layers=1 width=4-8/4 ratio=2 heads=1-2")
SMALL: dict[str, Any] = {"spaces": SPACES, "training.batch_size": 8, "training.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    return load_texts(write_csv(tmp_path_factory.mktemp("mails") / "mails.csv", rows(80)))


def encoder(data: Texts, seed: int = 1, layers: int = 4, width: int = 16, heads: int = 4) -> TransformerText:
    """A BERT without dropout, so that steps can be repeated."""
    made = fresh_transformer(vocabulary(data.train.texts), layers=layers, width=width, heads=heads, seed=seed)
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return made


@pytest.fixture(scope="module")
def teacher(data: Texts, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    encoder(data, 5).net.save_pretrained(folder)
    encoder(data, 5).tokenizer.save_pretrained(folder)
    return str(folder)


def run(data: Texts, teacher: str, out: Path, steps: int = 4, **settings: Any) -> tuple[Any, Run]:
    method = AutoDistil.settings(teacher=teacher, **{**SMALL, **settings})
    with Run(out, seed=0, budget=Budget(steps=steps), progress=False, audit=True) as going:
        return method.fit(encoder(data), data, going), going


class Stopped(Exception):
    """Ends a run within its first step."""


def test_a_step_is_the_sum_of_the_losses_of_its_students(
    data: Texts, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms: dict[str, torch.Tensor] = {}
    supers: list[TransformerText] = []
    read: list[tuple[torch.Tensor, torch.Tensor]] = []

    def step(self: Run, losses: dict[str, torch.Tensor], **_: Any) -> float:
        terms.update(losses)
        torch.stack([values.mean() for values in losses.values()]).sum().backward()
        raise Stopped

    def state(self: Run, **named: Any) -> Any:
        supers.extend(named.values())
        return registered(self, **named)

    def watched(net: Any, ids: torch.Tensor, mask: torch.Tensor, part: Any = None) -> Any:
        read.append((ids, mask))
        return part_of(net, ids, mask, part)

    registered = Run.state
    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr(Run, "state", state)
    monkeypatch.setattr(autodistil, "part_of", watched)
    with pytest.raises(Stopped):
        run(data, teacher, tmp_path / "run")
    assert list(terms) == ["largest", "smallest", "random_0", "random_1"]
    space = space_of(SPACES[0], sizes_of(supers[0]))
    parts = AutoDistil.settings(**SMALL).sandwich(space, 0, 0)
    assert (parts["largest"], parts["smallest"]) == space.extremes
    own, expert, (ids, mask) = encoder(data), open_transformer(Path(teacher)).eval(), read[0]
    total = torch.zeros(())
    for row in range(len(ids)):  # one text at a time
        text, seen = ids[row : row + 1], mask[row : row + 1]
        for part in parts.values():
            mine, theirs = part_of(own, text, seen, part), part_of(expert, text, seen)
            total = total + relation_loss(mine[1:], theirs[1:], seen, 4).sum() / len(ids)
    total.backward()
    compared = 0
    for (name, mine), theirs in zip(own.named_parameters(), supers[0].parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            compared += 1
            torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-3, atol=1e-7)
    assert compared > 20


def test_pieces_of_a_batch_change_nothing(data: Texts, teacher: str, tmp_path: Path) -> None:
    method = AutoDistil.settings(teacher=teacher, **SMALL)
    found = []
    for size in (None, 3):
        out = tmp_path / str(size)
        with Run(out, seed=0, budget=Budget(steps=3), progress=False, micro_batch_size=size) as going:
            method.fit(encoder(data), data, going)
        found.append([row["relation_loss"] for row in going.reported.rows("students")])
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_random_students_are_neither_extreme_and_change_with_the_step() -> None:
    space = space_of(SPACES[0], Sizes(4, 16, 4))
    method, seen = AutoDistil(), set()
    for step in range(60):
        parts = method.sandwich(space, 0, step)
        drawn = {parts["random_0"], parts["random_1"]}
        assert len(drawn) == 2
        assert not drawn & set(space.extremes)
        seen |= drawn
    assert seen == set(space.between())
    assert method.sandwich(space, 0, 3) == method.sandwich(space, 0, 3)


@pytest.mark.parametrize("part", [
    Architecture(3, 12, Fraction(2), 2), Architecture(2, 8, Fraction(3), 2), Architecture(4, 16, Fraction(4), 4),
])  # fmt: skip
def test_a_part_cut_out_answers_as_it_did_and_as_transformers_do_from_its_folder(
    data: Texts, part: Architecture, tmp_path: Path
) -> None:
    net = encoder(data).eval()
    tokens = net.tokenize(list(data.train.texts[:5]))
    inside = part_of(net, tokens.ids, tokens.mask, part).states
    alone = cut(net, part).eval()
    torch.testing.assert_close(alone(tokens.ids, tokens.mask, out="tokens"), inside, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in alone.parameters()) == part.parameters(sizes_of(net), "exact")
    alone.save_pretrained(tmp_path / "student")
    again = open_transformer(tmp_path / "student").eval()
    torch.testing.assert_close(again(tokens.ids, tokens.mask, out="tokens"), inside, rtol=1e-4, atol=1e-5)
    whole = part.heads * 4 == part.width
    assert type(again.net).__name__ == ("BertModel" if whole else "NarrowBertModel")
    assert again(tokens.ids, tokens.mask, out="layers").shape[1] == part.layers + 1


@pytest.mark.slow
def test_a_narrow_student_opens_where_counterpoint_is_not_imported(data: Texts, tmp_path: Path) -> None:
    net = encoder(data).eval()
    part = Architecture(3, 12, Fraction(2), 2)
    cut(net, part).save_pretrained(tmp_path / "student")
    tokens = net.tokenize(list(data.train.texts[:3]))
    inside = part_of(net, tokens.ids, tokens.mask, part).states
    torch.save({"ids": tokens.ids, "mask": tokens.mask, "states": inside.detach()}, tmp_path / "given.pt")
    script = (
        "import sys, torch\n"
        "from transformers import AutoModel, AutoTokenizer\n"
        "net = AutoModel.from_pretrained('student', trust_remote_code=True).eval()\n"
        "AutoTokenizer.from_pretrained('student')\n"
        "given = torch.load('given.pt')\n"
        "out = net(input_ids=given['ids'], attention_mask=given['mask']).last_hidden_state\n"
        "torch.testing.assert_close(out, given['states'], rtol=1e-4, atol=1e-5)\n"
        "assert 'counterpoint' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_best_affordable_student_is_returned_and_all_are_reported(
    data: Texts, teacher: str, tmp_path: Path
) -> None:
    student, going = run(data, teacher, tmp_path / "run", **{"choice.share": 0.3, "choice.formula": "exact"})
    table = going.reported.rows("students")
    sizes = sizes_of(encoder(data))
    assert len(table) == sum(len(list(space_of(text, sizes))) for text in SPACES)
    limit = 0.3 * Architecture(4, 16, Fraction(4), 4).operations(sizes, "exact")
    best = min(
        (row for row in table if row["exact_gigaflops"] * 1e9 < limit), key=lambda row: row["relation_loss"]
    )
    assert student.net.config.hidden_size == best["width"]
    assert student.net.config.num_hidden_layers == best["layers"]
    assert {bool(row["affordable"]) for row in table} == {True, False}
    assert "<svg" in drawing(table)
    figures = going.reported.figures
    assert figures["student_million_weights"] < figures["teacher_million_weights"]


def test_training_brings_students_nearer_and_a_proxy_probes_labels(
    data: Texts, teacher: str, tmp_path: Path
) -> None:
    _, before = run(data, teacher, tmp_path / "before", **{"training.learning_rate": 0.0})
    more = {"training.learning_rate": 1e-2, "choice.by": "proxy", "choice.candidates": 3, "choice.share": 1.0}
    _, after = run(data, teacher, tmp_path / "after", 40, **more)
    first, last = (
        sum(row["relation_loss"] for row in going.reported.rows("students")) for going in (before, after)
    )
    assert last < first
    probed = [row for row in after.reported.rows("students") if "accuracy" in row]
    assert len(probed) == 3
    assert all(0 <= row["accuracy"] <= 1 for row in probed)


@pytest.mark.parametrize(("settings", "message"), [
    ({"spaces": ("bas",)}, "did you mean 'base'"),
    ({"spaces": ("base",)}, "the super-network has 4"),
    ({"spaces": ("layers=1 width=8 ratio=2",)}, "write its sizes out"),
    ({"spaces": ("layers=2-1 width=8 ratio=2 heads=2",)}, "LOW-HIGH"),
    ({"spaces": ("layers=1 width=8 ratio=9 heads=2",)}, "up to 4"),
    ({"choice.share": 0.001}, "larger choice.share"),
    ({"choice.share": 0.0}, "choice.share"),
    ({"relation": "soft"}, "relation"),
    ({"spaces": ()}, "at least one"),
])  # fmt: skip
def test_wrong_settings_say_what_to_do(
    data: Texts, teacher: str, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CounterpointError, match=message):
        run(data, teacher, tmp_path / "run", **settings)


def test_other_encoders_and_tokenizers_are_refused(data: Texts, teacher: str, tmp_path: Path) -> None:
    method = AutoDistil.settings(teacher=teacher, **SMALL)
    with (
        Run(tmp_path / "one", seed=0, budget=Budget(steps=1), progress=False) as going,
        pytest.raises(CounterpointError, match="is no BERT"),
    ):
        method.fit(WordEncoder(["tea"]), data, going)
    other = fresh_transformer(["tea", "rain"], layers=4, width=16, heads=4)
    with (
        Run(tmp_path / "two", seed=0, budget=Budget(steps=1), progress=False) as going,
        pytest.raises(CounterpointError, match="token by token"),
    ):
        method.fit(other, data, going)


def test_the_front_has_what_nothing_cheaper_beats() -> None:
    points = [(1.0, 5.0), (2.0, 6.0), (3.0, 4.0), (3.0, 3.0), (4.0, 3.0)]
    assert pareto(points) == [(1.0, 5.0), (3.0, 3.0)]
    assert drawing([{"space": "a", "exact_gigaflops": 1.0}]) == ""


def test_relations_ignore_padding_and_the_order_of_texts() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, theirs = (
        [torch.randn(3, 4, n, generator=generator, dtype=torch.float64) for _ in range(3)] for n in (6, 8)
    )
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    loss = relation_loss(mine, theirs, mask, 2)
    turned = relation_loss([m.flip(0) for m in mine], [t.flip(0) for t in theirs], mask.flip(0), 2)
    torch.testing.assert_close(turned, loss.flip(0))
    hidden = [copy.deepcopy(m) for m in mine]
    extreme = relation_loss([1e4 * m for m in hidden], theirs, mask, 2)
    assert torch.isfinite(extreme).all()
    by_hand = 0.0
    for a, b in zip(mine, theirs):
        for head in range(2):
            q, p = a[0, :, 3 * head : 3 * head + 3], b[0, :, 4 * head : 4 * head + 4]
            own, other = (q @ q.T / 3**0.5).softmax(1), (p @ p.T / 2).softmax(1)
            by_hand += float(((own - other) ** 2).sum()) / (2 * 16)
    assert float(loss[0]) == pytest.approx(by_hand)


def test_gradients_are_those_of_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    given = [
        torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    theirs = [torch.randn(2, 3, 6, generator=generator, dtype=torch.float64) for _ in range(3)]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    for kind in ("softmax", "raw"):
        assert torch.autograd.gradcheck(lambda *q, kind=kind: relation_loss(q, theirs, mask, 2, kind), given)


def test_the_case_tells_the_same_students_apart() -> None:
    from counterpoint import api
    from counterpoint.cases.autodistil import of_students
    from counterpoint.training.report import Report

    _, plan = api.reproduction("autodistil")
    assert plan.seeds == 5
    report = Report()
    shared = [(2, 96, 2.0, 2), (2, 96, 4.0, 2), (1, 32, 2.0, 1), (1, 50, 2.0, 1)]
    report.add(students=[
        {"layers": a, "width": b, "ratio": c, "heads": d, "relation_loss": loss, "accuracy": right}
        for (a, b, c, d), loss, right in zip(shared, (0.1, 0.2, 0.3, 9.0), (0.9, 0.8, 0.7, 0.1))
    ])  # fmt: skip
    assert of_students(None, None, "test", 0, report) == pytest.approx(
        {"shared_loss": 200.0, "rank_agreement": 1.0}
    )
    assert json.dumps(plan.as_dict())
