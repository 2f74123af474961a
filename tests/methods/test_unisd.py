"""UniSD, SFT, SDFT, GKD: what is optimised, what moves, what resumes, what micro-batches may not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from counterpoint.data.language.problems import Problem, ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import dense
from counterpoint.methods import unisd
from counterpoint.methods.catalog import load as method
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join
from counterpoint.training import Run

SMALL: dict[str, Any] = {"batch_size": 4, "lora_rank": 0, "learning_rate": 1e-2}
SAMPLED: dict[str, Any] = SMALL | {"max_new_tokens": 6, "template": "{demonstration}#{prompt}"}
UNISD: dict[str, Any] = SAMPLED | {
    "contrast.negatives": "other",
    "agreement.retriever": "tfidf",
    "ema.sync_steps": 2,
}
SETTINGS = {"sft": SMALL, "sdft": SAMPLED, "gkd": SAMPLED, "unisd": UNISD}


class Killed(Exception):
    pass


def data(size: int = 12) -> ProblemData:
    return load(f"worked-sums?size={size}&validation=2&test=2&digits=2")


def train(
    key: str,
    out: Path,
    kill_at: int | None = None,
    micro: int | None = None,
    seen: list[Any] | None = None,
    **settings: Any,
) -> Language:
    made = method(key).settings(**{**SETTINGS[key], **settings})
    with Run(out, seed=1, progress=False, checkpoint_steps=1, audit=True, micro_batch_size=micro) as run:
        step, count = run.step, iter(range(10**6))

        def counted(losses: Any, **options: Any) -> float:
            if next(count) == kill_at:
                raise Killed
            if seen is not None:
                seen.append(losses)
            return step(losses, **options)

        run.step = counted  # type: ignore[method-assign]
        return made.fit(tiny(seed=0), data(), run)  # type: ignore[return-value]


def bits(model: Language) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: Language, other: Language) -> bool:
    first, second = bits(one), bits(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


RESUMED = [
    ("sft", {}),
    ("sdft", {}),
    ("gkd", {}),
    ("unisd", {}),
    ("unisd", {"lora_rank": 2, "contrast.negatives": "sampled", "contrast.num_negatives": 2}),
]


@pytest.mark.parametrize(("key", "settings"), RESUMED)
def test_an_interrupted_run_ends_with_the_same_bits(
    tmp_path: Path, key: str, settings: dict[str, Any]
) -> None:
    whole = train(key, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        train(key, tmp_path / "cut", kill_at=2, **settings)
    assert same(train(key, tmp_path / "cut", **settings), whole)


@pytest.mark.parametrize("key", SETTINGS)
def test_micro_batches_do_not_change_the_losses(tmp_path: Path, key: str) -> None:
    whole: list[Any] = []
    pieces: list[Any] = []
    train(key, tmp_path / "whole", seen=whole, learning_rate=1e-4)
    train(key, tmp_path / "pieces", seen=pieces, learning_rate=1e-4, micro=1)
    for one, other in zip(whole, pieces, strict=True):
        one, other = (each if isinstance(each, dict) else {"": each} for each in (one, other))
        assert one.keys() == other.keys()
        for name in one:
            assert torch.allclose(one[name].values, other[name].values, rtol=2e-3, atol=1e-5)


TERMS = {
    "plain": {"distil"}, "ema": {"distil"}, "clip": {"distil"}, "contrastive": {"distil", "contrast"},
    "match_joint": {"distil", "match"}, "match_repr": {"match"}, "unisd_star": {"distil", "contrast", "match"},
}  # fmt: skip


@pytest.mark.parametrize("mode", get_args(unisd.Mode))
def test_every_mode_trains_on_its_own_terms(tmp_path: Path, mode: str) -> None:
    seen: list[Any] = []
    trained = train("unisd", tmp_path, seen=seen, mode=mode)
    assert set(seen[0]) == TERMS.get(mode, {"distil"})
    assert ("agreement" in seen[0].get("distil", seen[0][next(iter(seen[0]))]).stats) == (
        "agreement" in mode or mode == "unisd_star"
    )
    start = bits(tiny(seed=0))
    assert any(not torch.equal(value, start[name]) for name, value in bits(trained).items())


def test_the_papers_values_of_every_mode() -> None:
    star = unisd.UniSD()._mechanisms()
    assert (star.gamma, star.contrast_weight, star.contrast_margin, star.match_weight) == (
        0.001,
        0.01,
        0.1,
        0.01,
    )
    assert star.agreement == "token"
    assert star.cap is None
    assert unisd.UniSD()._own("ema.decay") == 0.98
    assert unisd.UniSD(mode="ema")._own("ema.decay") == 0.9
    assert unisd.UniSD(mode="clip")._mechanisms().cap == 10.0
    assert unisd.UniSD.settings(mode="clip", clip=3.0)._mechanisms().cap == 3.0
    assert unisd.UniSD(mode="agreement_seq_induction")._mechanisms().agreement == "sequence"
    assert unisd.UniSD(mode="contrastive")._mechanisms().contrast_margin == 0.5
    assert unisd.UniSD(mode="match_repr")._mechanisms().match_only


def test_the_first_plain_step_is_the_divergence_to_oneself_shown_the_solution(tmp_path: Path) -> None:
    """Recomputed row by row from transformers' own logits: temperature, template, alignment and mean all at once."""
    seen: list[Any] = []
    asked: list[Any] = []
    made = method("unisd").settings(**{**UNISD, "mode": "plain"})
    with Run(tmp_path, seed=1, progress=False) as run:
        step, model = run.step, tiny(seed=0)
        forward = run.forward

        def kept(net: Any, ids: Any, mask: Any, last: int) -> Any:
            asked.append((ids, mask, last))
            return forward(net, ids, mask, last=last)

        def counted(losses: Any, **options: Any) -> float:
            seen.append(losses)
            if len(seen) == 1:
                return step(losses, **options)
            raise Killed

        run.step, run.forward = counted, kept  # type: ignore[method-assign]
        with pytest.raises(Killed):
            made.fit(model, data(), run)
    fresh = tiny(seed=0).eval()
    ids, mask, last = asked[0]
    rows = {row.question: row for row in data().train}
    for number in range(len(ids)):
        text = fresh.tokenizer.decode(
            ids[number, :-last][mask[number, :-last].bool()], skip_special_tokens=True
        )
        row = rows[text.rstrip("~")]
        said = ids[number, -last:][mask[number, -last:].bool()]
        plain = fresh.prompts([row.question]).ids[0]
        hinted = fresh.prompts([f"{row.solution}#{row.question}"]).ids[0]
        log_p = [
            (fresh.causal(torch.cat([prompt, said])[None]).logits[0, len(prompt) - 1 : -1] / 0.7).log_softmax(
                -1
            )
            for prompt in (plain, hinted)
        ]
        expected = (log_p[1].exp() * (log_p[1] - log_p[0])).sum(-1).mean()
        assert float(seen[0]["distil"].values[number].detach()) == pytest.approx(
            float(expected), rel=1e-3, abs=1e-6
        )


def test_distillation_brings_the_student_to_its_hinted_self(tmp_path: Path) -> None:
    model = tiny(seed=0)
    rows = [Problem(f"{n}+1=", solution="7", answer="7") for n in range(8)]
    problems = ProblemData("x", *(Problems(rows, "number") for _ in range(3)))
    made = method("sdft").settings(
        **SAMPLED
        | {
            "divergence": "forward",
            "teacher": "frozen",
            "epochs": 40,
            "template": "{demonstration}777777#{prompt}",
        }
    )
    asked, said = model.prompts([row.prompt for row in rows]), model.completions(["7"] * 8)

    def gap() -> float:
        both = join(asked, said)
        with torch.no_grad():
            logits = dense(model.eval().scores(model(both.ids, both.mask, last=2)))
        return float((logits.log_softmax(-1) - target).norm())

    from counterpoint.teachers.answering import Answering
    from counterpoint.teachers.frozen import Frozen

    target = dense(
        Answering(Frozen(model)).answer([f"7777777#{row.prompt}" for row in rows], said)
    ).log_softmax(-1)
    before = gap()
    with Run(tmp_path, seed=0, progress=False) as run:
        made.fit(model, problems, run)
    assert gap() < 0.5 * before


def test_gkd_from_another_model_and_from_a_store(tmp_path: Path) -> None:
    teacher = tiny(seed=5)
    with torch.no_grad():  # surer of itself, so that a few stored draws say most of what it says
        teacher.base.model.norm.weight.mul_(12)
    teacher.save(tmp_path / "teacher")
    rows = data().train.rows

    def said(model: Language) -> torch.Tensor:
        prompts = model.prompts([row.prompt for row in rows])
        replies = model.completions([row.reference for row in rows])
        both = join(prompts, replies)
        with torch.no_grad():
            hidden = model.eval()(both.ids, both.mask, last=replies.width)
        return dense(model.scores(hidden)).log_softmax(-1)[replies.mask.bool()]

    target = said(teacher)

    def distance(model: Language) -> float:
        return float((target.exp() * (target - said(model))).sum(-1).mean())

    settings = {
        "teacher": str(tmp_path / "teacher"),
        "on_policy": 0.0,
        "beta": 0.0,
        "learning_rate": 3e-3,
        "epochs": 30,
    }
    live = train("gkd", tmp_path / "live", **settings)
    stored = train("gkd", tmp_path / "stored", store=str(tmp_path / "store"), **settings)
    assert (tmp_path / "store" / "store.json").exists()
    before = distance(tiny(seed=0))
    assert distance(live) < 0.3 * before
    assert distance(stored) < 0.4 * before
    with pytest.raises(CounterpointError, match="set both to 0"):
        train("gkd", tmp_path / "x", store="anywhere")
    tiny(alphabet="0123456789").save(tmp_path / "foreign")
    with pytest.raises(CounterpointError, match="different vocabularies"):
        train("gkd", tmp_path / "y", teacher=str(tmp_path / "foreign"))


@pytest.mark.parametrize("key", SETTINGS)
def test_lessons(tmp_path: Path, key: str) -> None:
    rows = Problems([Problem("1+1=", answer="2"), Problem("2+2=")], "number")
    made = method(key).settings(**SETTINGS[key])
    with (
        Run(tmp_path, progress=False) as run,
        pytest.raises(CounterpointError, match="has none, first row 2"),
    ):
        made.fit(tiny(), ProblemData("x", rows, rows, rows), run)
    with pytest.raises(CounterpointError, match="did you mean 'batch_size'"):
        method(key).settings(batchsize=3)
    if key != "sft":
        bad = method(key).settings(**SETTINGS[key] | {"template": "{prompt}"})
        with (
            Run(tmp_path / "t", progress=False) as run,
            pytest.raises(CounterpointError, match="no field {demonstration}"),
        ):
            bad.fit(tiny(), data(), run)
