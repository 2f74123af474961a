"""Contrasted decoding: two caches, batches, transformers' generate, folders; against passes without any cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.contrast import Contrast
from counterpoint.generation.contrasted import FILE, Contrasted, load, self_contrast
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.weak import Amateur, EarlyLayers
from counterpoint.kernels.sharing import share_prompts
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.experts import Routing
from counterpoint.models.language.language import Language
from counterpoint.tasks.stock.mixture import ALPHABET, experts

PROMPTS = ["12+3", "456+78", "9+9"]


def model(seed: int = 0) -> Language:
    """A small mixture with logits far enough apart that rounding decides nothing."""
    made = experts(seed, width=32, layers=3, num_experts=4).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4 if weight.dim() > 1 else 1)
    return made


def amateur() -> Language:
    return tiny(seed=3, layers=1, width=32, heads=4, length=128, alphabet=ALPHABET).eval()


KINDS = {
    "experts": lambda: self_contrast(model(), "own", "rank-2", Contrast(alpha=0.4)),
    "ensemble": lambda: self_contrast(model(), "top-3", "rank-4", Contrast(beta=0.3)),
    "amateur": lambda: Contrasted(model(), Amateur(amateur()), Contrast(beta=2.0, alpha=0.01)),
    "layers": lambda: (
        lambda m: Contrasted(m, EarlyLayers(m, (1, 2)), Contrast(alpha=1e-3, form="difference"))
    )(model()),
}


@torch.no_grad()
def slowly(made: Contrasted, prompt: str, steps: int) -> list[int]:
    """Greedy tokens of one prompt, both passes read whole at every step, weak logits by the definition."""
    ids, plain, chosen = made.prompts([prompt]).ids, Language(made.causal, made.tokenizer, runs=made.runs), []

    def whole(language: Language) -> Tensor:
        return language.logits(ids, torch.ones_like(ids))[:, -1]

    for _ in range(steps):
        with made.strong():
            strong = whole(plain)
        if isinstance(made.weak, Amateur):
            weak = whole(made.weak.model)
        elif isinstance(made.weak, EarlyLayers):
            states = plain.base(ids, output_hidden_states=True).hidden_states
            early = [plain.head(states[each][:, -1]) for each in made.weak.layers]
            p = strong.softmax(-1)
            middles = [(p + q.softmax(-1)) / 2 for q in early]
            jsd = [
                float((p * (p / m).log()).sum() + (q.softmax(-1) * (q.softmax(-1) / m).log()).sum())
                for q, m in zip(early, middles)
            ]
            weak = early[jsd.index(max(jsd))]
        else:
            assert made._routers is not None
            with made._routers.use(made.weak.routing):  # type: ignore[attr-defined]
                weak = whole(plain)
        token = made.how(strong, weak).argmax(-1)
        chosen.append(int(token))
        if int(token) in made.stops:
            break
        ids = torch.cat([ids, token[:, None]], 1)
    return chosen


@pytest.mark.parametrize("kind", KINDS)
def test_two_caches_give_what_whole_passes_give_alone_and_in_a_batch(kind: str) -> None:
    made = KINDS[kind]()
    found = Sampler(max_new_tokens=8, temperature=0)(made, made.prompts(PROMPTS))
    together = found.rows()
    assert together == [slowly(made, prompt, 8) for prompt in PROMPTS]
    assert len({tuple(row) for row in together}) > 1
    plain = Sampler(max_new_tokens=8, temperature=0)(
        Language(made.causal, made.tokenizer, runs=made.runs), made.prompts(PROMPTS)
    )
    assert not torch.allclose(plain.log_probs[:, 0], found.log_probs[:, 0]), (
        "the contrast changes something here"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_generate_is_the_sampler(kind: str) -> None:
    made = KINDS[kind]()
    prompts = made.prompts(PROMPTS)
    ids = made.generate(prompts.ids, prompts.mask, max_new_tokens=8)
    sampled = Sampler(max_new_tokens=8, temperature=0)(made, prompts)
    for row, expected in zip(ids[:, prompts.width :].tolist(), sampled.rows()):
        assert row[: len(expected)] == expected
        assert set(row[len(expected) :]) <= {made.pad_id}
    assert not made.base._forward_hooks, "no hook is left"


def test_generate_takes_transformers_options() -> None:
    made = KINDS["experts"]()
    prompts = made.prompts(PROMPTS)
    torch.manual_seed(0)
    out = made.generate(
        prompts.ids, prompts.mask, max_new_tokens=6, do_sample=True, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert any(torch.isinf(each).any() for each in out.scores), "the mask is in them"
    for step, scores in enumerate(out.scores):
        token = out.sequences[:, prompts.width + step]
        alive = token != made.pad_id
        assert scores.gather(1, token[:, None])[alive].isfinite().all(), "an implausible token is never drawn"
    with pytest.raises(CounterpointError, match="keeps two caches"):
        made.generate(prompts.ids, prompts.mask, num_beams=2)
    with pytest.raises(CounterpointError, match="keeps two caches"):
        made.generate(prompts.ids, prompts.mask, assistant_model=amateur().causal)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_is_answered_several_times_is_read_once(kind: str) -> None:
    made, draws = KINDS[kind](), row_draws(0, range(6), 8)
    prompts = made.prompts([each for each in PROMPTS for _ in range(2)])
    with share_prompts("off"):
        apart = Sampler(max_new_tokens=8)(made, prompts, draws)
    with share_prompts("on"):
        shared = Sampler(max_new_tokens=8)(made, prompts, draws)
    assert shared.rows() == apart.rows()
    alone = Sampler(max_new_tokens=8)(made, made.prompts(PROMPTS[1:2]), draws[2:3])
    assert alone.rows()[0] == apart.rows()[2], "a row's tokens do not depend on the batch"


def test_a_model_without_a_cache_or_padding_contrasts_too() -> None:
    from dataclasses import replace

    fast = KINDS["experts"]()
    made = KINDS["experts"]()
    made.runs = replace(made.runs, cached=False, padded=False)
    made.weak.model.runs = made.runs  # type: ignore[attr-defined]
    sampler = Sampler(max_new_tokens=6, temperature=0)
    assert sampler(made, made.prompts(PROMPTS)).rows() == sampler(fast, fast.prompts(PROMPTS)).rows()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_decodes_again_and_transformers_reads_it(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    made = KINDS[kind]()
    made.save(tmp_path / "model")
    again = load(tmp_path / "model").eval()
    assert isinstance(again, Contrasted)
    assert again.described() == made.described()
    sampler = Sampler(max_new_tokens=8, temperature=0)
    assert sampler(again, made.prompts(PROMPTS)).rows() == sampler(made, made.prompts(PROMPTS)).rows()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for one, other in zip(plain.parameters(), made.causal.parameters()):
        assert torch.equal(one, other)
    (tmp_path / "model" / FILE).write_text("{}")
    with pytest.raises(CounterpointError, match="does not say how to decode"):
        load(tmp_path / "model")
    (tmp_path / "model" / FILE).unlink()
    assert not isinstance(load(tmp_path / "model"), Contrasted)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CounterpointError, match="different vocabularies"):
        Contrasted(model(), Amateur(tiny(seed=0)), Contrast())
    with pytest.raises(CounterpointError, match="a layer has 4 experts"):
        self_contrast(model(), "own", "rank-5", Contrast())
    with pytest.raises(CounterpointError, match=r"3 layers, and candidates \(3,\)"):
        EarlyLayers(model(), (3,))
    with pytest.raises(CounterpointError, match="has no experts"):
        self_contrast(amateur(), "own", "rank-2", Contrast())


def test_an_amateurs_padded_tail_is_left_as_it_is() -> None:
    strong, expert = torch.tensor([[1.0, 2.0, 0.5, 0.1]]), amateur()
    weak, _ = Amateur(expert).decode(torch.tensor([[5]]), torch.ones(1, 1), None, strong)
    own, _ = expert.decode(torch.tensor([[5]]), torch.ones(1, 1))
    assert torch.equal(weak, own[:, :4])
    wide = torch.zeros(1, own.shape[1] + 2)
    weak, _ = Amateur(expert).decode(torch.tensor([[5]]), torch.ones(1, 1), None, wide)
    assert weak[0, -1] == own.max()


def test_random_experts_are_the_same_for_the_same_batch() -> None:
    made = self_contrast(model(), "own", "random-1", Contrast())
    sampler, prompts = Sampler(max_new_tokens=8, temperature=0), made.prompts(PROMPTS)
    assert sampler(made, prompts).rows() == sampler(made, prompts).rows()


def test_described_is_json() -> None:
    said = json.loads(json.dumps(KINDS["ensemble"]().described()))
    assert said["weak"] == {"routing": "rank-4", "strong": "top-3"}
    assert Routing.of(said["weak"]["strong"]).number == 3
