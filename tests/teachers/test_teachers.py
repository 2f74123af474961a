"""Teachers of language models: what stays, what follows, and that a stored teacher is the live one on average."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Sparse, dense
from counterpoint.kernels.vocabulary import divergence
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language, LoRA
from counterpoint.models.tokens import join, pad
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.copies import Copied
from counterpoint.teachers.ema import Ema
from counterpoint.teachers.ensemble import Ensemble
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.past import Past
from counterpoint.teachers.store_writer import write
from counterpoint.teachers.stored import Stored

KINDS = ["full", "lora"]


def student(kind: str) -> Language:
    model = tiny(seed=0)
    return model if kind == "full" else model.with_lora(LoRA(rank=4, alpha=8, dropout=0.5))


def nudge(model: Language, seed: int = 0) -> None:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                each.add_(torch.randn(each.shape, generator=draws), alpha=0.1)


def live(model: Language) -> Answering:
    return Answering(Frozen(model))


def answered(teacher: object, model: Language) -> torch.Tensor:
    given = Answering(teacher) if isinstance(teacher, Copied) else teacher
    return dense(given.answer(["1+1=", "30+4="], model.completions(["2", "34"])))  # type: ignore[attr-defined]


def itself(model: Language) -> torch.Tensor:
    return answered(live(model), model)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_stays_and_shares_only_frozen_weights(kind: str) -> None:
    model = student(kind)
    teacher = Frozen(model)
    before = answered(teacher, model)
    nudge(model)
    assert torch.equal(answered(teacher, model), before)
    assert not torch.allclose(itself(model), before)
    assert not any(each.requires_grad for each in teacher.parameters())
    shared = {each.data_ptr() for each in model.parameters()} & {
        each.data_ptr() for each in teacher.parameters()
    }
    assert bool(shared) == (kind == "lora")
    assert any(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_ema_follows_full_weights_and_adapters(kind: str) -> None:
    model = student(kind)
    teacher = Ema(model, 0.75, every=2)
    start = {name: value.clone() for name, value in teacher.state_dict().items()}
    first = answered(teacher, model)
    nudge(model)
    teacher.follow(model)
    assert torch.equal(answered(teacher, model), first), "every=2 waits for the second step"
    teacher.follow(model)
    assert not torch.allclose(answered(teacher, model), first), (
        "an average over frozen weights alone would not move"
    )
    now = dict(model.named_parameters())
    for name, value in teacher.state_dict().items():
        if name.removeprefix("model.") in now:
            assert torch.allclose(value, 0.75 * start[name] + 0.25 * now[name.removeprefix("model.")])
    if kind == "lora":
        saved = {name.removeprefix("model.") for name in start} & set(now)
        assert saved
        assert all("lora_" in name for name in saved), "the frozen base is not saved again"


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_ema_at_its_ends(decay: float) -> None:
    model = tiny(seed=0)
    teacher = Ema(model, decay)
    before = itself(model)
    nudge(model)
    teacher.follow(model)
    expected = itself(model) if decay == 0 else before
    assert torch.allclose(answered(teacher, model), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_ema_comes_back_from_its_state_and_not_from_the_base(kind: str) -> None:
    model = student(kind)
    teacher = Ema(model, 0.5)
    nudge(model)
    teacher.follow(model)
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    fresh = Ema(student(kind), 0.5)
    fresh.load_state_dict(state)
    assert torch.equal(answered(fresh, model), answered(teacher, model))
    assert int(fresh.calls) == 1
    with pytest.raises(CounterpointError, match="only one of them"):
        fresh.load_state_dict({"calls": state["calls"]})


def test_past_changes_only_when_refreshed() -> None:
    model = student("lora")
    past = Past(model)
    before = answered(past, model)
    nudge(model)
    assert torch.equal(answered(past, model), before)
    past.refresh(model)
    assert torch.allclose(answered(past, model), itself(model), atol=1e-6)


def test_hinted_aligns_completions_behind_other_prompts() -> None:
    model = tiny(seed=0)
    teacher = Hinted(live(model), lambda row: row["hint"] + row["prompt"])
    rows = [{"prompt": "1+1=", "hint": "two "}, {"prompt": "3+3=", "hint": "something much longer "}]
    completions = model.completions(["2", "six"])
    answer = dense(teacher.answer(rows, completions))
    for number, row in enumerate(rows):
        asked = model.prompts([row["hint"] + row["prompt"]])
        both = join(asked, completions[slice(number, number + 1)])
        alone = dense(model.scores(model.eval()(both.ids, both.mask, last=completions.width)))
        length = int(completions.lengths[number])
        assert torch.allclose(answer[number, :length], alone[0, :length], atol=1e-4)
    with pytest.raises(CounterpointError, match="not with tokens"):
        teacher.answer(model.prompts(["1"]), completions)


def test_rows_at_once_change_nothing() -> None:
    model = tiny(seed=0)
    assert torch.allclose(
        answered(Answering(model, at_once=1), model), answered(live(model), model), atol=1e-5
    )


def test_ensemble_averages_probabilities() -> None:
    one, other = tiny(seed=0), tiny(seed=1)
    both = answered(Ensemble([live(one), live(other)], [3, 1]), one).exp()
    expected = 0.75 * itself(one).softmax(-1) + 0.25 * itself(other).softmax(-1)
    assert torch.allclose(both, expected, atol=1e-6)
    with pytest.raises(CounterpointError, match="one non-negative weight each"):
        Ensemble([live(one)], [0.5, 0.5])


ASKED = ["1+1=", "2+2=", "3+3=", "44+4="]
SAID = ["2", "4", "six", "48"]


def store(folder: Path, model: Language, seed: int = 0, draws: int = 50) -> Stored:
    shards = [
        (ASKED[at : at + 2], model.completions(SAID[at : at + 2]), torch.arange(at, at + 2)) for at in (0, 2)
    ]
    return write(folder, live(model), shards, seed=seed, draws=draws)


def test_stored_is_the_live_teacher_on_average(tmp_path: Path) -> None:
    model = tiny(seed=0)
    model.head.weight.data.mul_(30)
    rows = torch.tensor([3, 0, 2])  # another order, another batch than it was written in
    completions = model.completions([SAID[row] for row in rows])
    whole = dense(live(model).answer([ASKED[row] for row in rows], completions)).softmax(-1)
    total = torch.zeros_like(whole)
    for seed in range(60):
        sparse = store(tmp_path / str(seed), model, seed=1000 * seed).answer([], completions, rows)
        assert torch.allclose(sparse.probs.sum(-1), completions.mask.float())
        total.scatter_add_(2, sparse.ids, sparse.probs)
    error = ((total / 60 - whole) * completions.mask[..., None]).abs().max()
    assert error < 5 * (0.25 / (60 * 50)) ** 0.5


def test_stored_loss_has_the_live_gradient_on_average(tmp_path: Path) -> None:
    teacher, learner = tiny(seed=0), tiny(seed=1)
    teacher.head.weight.data.mul_(30)
    completions, rows = learner.completions(SAID), torch.arange(4)
    mask = completions.mask.bool()
    logits = dense(live(learner).answer(ASKED, completions)).requires_grad_()

    def gradient(answer: object) -> torch.Tensor:
        return torch.autograd.grad(divergence(logits, answer, "forward", mask=mask).sum(), logits)[0]  # type: ignore[arg-type]

    whole = gradient(live(teacher).answer(ASKED, completions))
    mean = torch.stack(
        [
            gradient(store(tmp_path / str(s), teacher, seed=1000 * s).answer([], completions, rows))
            for s in range(60)
        ]
    ).mean(0)
    assert (mean - whole).abs().max() < 5 * (0.25 / (60 * 50)) ** 0.5
    assert (mean - whole).norm() < 0.1 * whole.norm()


def test_an_interrupted_writer_goes_on(tmp_path: Path) -> None:
    model = tiny(seed=0)
    whole = store(tmp_path / "whole", model)
    shards = [(ASKED[:2], model.completions(SAID[:2]), torch.arange(2))]

    def broken():  # type: ignore[no-untyped-def]
        yield shards[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", live(model), broken())
    with pytest.raises(CounterpointError, match="no finished store"):
        Stored(tmp_path / "cut")
    first = (tmp_path / "cut" / "shard-000000.safetensors").stat().st_mtime_ns
    store(tmp_path / "cut", model)
    assert (tmp_path / "cut" / "shard-000000.safetensors").stat().st_mtime_ns == first
    for name in ("shard-000000.safetensors", "shard-000001.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert whole.packed.nbytes + whole.distinct.nbytes <= (3 * 50 + 1) * len(whole.distinct)


def test_stored_lessons(tmp_path: Path) -> None:
    model = tiny(seed=0)
    kept = store(tmp_path / "s", model)
    completions = model.completions(SAID[:1])
    with pytest.raises(CounterpointError, match=r"index=batch\.index"):
        kept.answer([], completions)
    with pytest.raises(CounterpointError, match="row 9 is not in the store"):
        kept.answer([], completions, torch.tensor([9]))
    with pytest.raises(CounterpointError, match="differs from the stored one"):
        kept.answer([], completions, torch.tensor([1]))
    with pytest.raises(CounterpointError, match="other settings"):
        store(tmp_path / "s", model, draws=20)
    with pytest.raises(CounterpointError, match="1 to 63"):
        store(tmp_path / "t", model, draws=64)


def test_a_confident_teacher_takes_few_bytes(tmp_path: Path) -> None:
    class Confident:
        def answer(self, asked: object, completions: object, index: object = None) -> torch.Tensor:
            return 12.0 * torch.randn(4, 20, 150_000, generator=torch.Generator().manual_seed(0)).clamp(min=3)

    completions = pad([[1] * 20] * 4, side="right")
    kept = write(tmp_path / "s", Confident(), [([], completions, torch.arange(4))])  # type: ignore[list-item]
    answer = kept.answer([], completions, torch.arange(4))
    assert isinstance(answer, Sparse)
    assert kept.packed.nbytes + kept.distinct.nbytes <= 40 * len(kept.distinct)
    assert int(answer.ids.max()) > 1 << 17


def test_a_store_holds_the_tempered_distribution_and_draws_anew_for_every_shard_and_seed(
    tmp_path: Path,
) -> None:
    class Fixed:
        def answer(self, asked: object, completions: object, index: object = None) -> torch.Tensor:
            return torch.tensor([3.0, 0.0, 0.0, 0.0]).expand(4, 50, 4)

    completions = pad([[1] * 50] * 4, side="right")

    def stored(name: str, **options: float) -> Stored:
        shards = [([], completions, torch.arange(at, at + 4)) for at in (0, 4)]
        return write(tmp_path / name, Fixed(), shards, **options)  # type: ignore[arg-type]

    def mean(found: Stored) -> torch.Tensor:
        answer = found.answer([], completions, torch.arange(4))
        return torch.zeros(4).index_add_(0, answer.ids.flatten(), answer.probs.flatten()) / 200

    for temperature in (1.0, 3.0):
        expected = (torch.tensor([3.0, 0.0, 0.0, 0.0]) / temperature).softmax(0)
        found = stored(f"t{temperature}", temperature=temperature)
        torch.testing.assert_close(mean(found), expected, atol=0.02, rtol=0)
    one, other = stored("one", seed=0), stored("other", seed=5)
    assert one.packed.tolist() == stored("again", seed=0).packed.tolist()
    assert one.packed.tolist() != other.packed.tolist()
    first, second = one.entry_ends[199], one.entry_ends[-1]
    assert one.packed[:first].tolist() != one.packed[first:second].tolist()
