"""Samplers: prompts, a count and draws in, answers with their log-probabilities out, from the model or a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_server import serving, url

from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.generation.answers import several_answers
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import Own, Served, Source
from counterpoint.generation.server import Server
from counterpoint.methods.catalog import load
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.training import Run

HOW = Sampler(max_new_tokens=12)


@pytest.fixture
def fake() -> Iterator[Any]:
    with serving() as server:
        yield server


def test_own_answers_carry_the_log_probabilities_the_model_gives_them() -> None:
    model, prompts = tiny(seed=0), ["1+1=", "20+2="]
    found = Own(model, HOW)(prompts, 2, row_draws(0, range(4), 12))
    repeated = model.prompts([prompt for prompt in prompts for _ in range(2)])
    expected = completion_log_probs(model.eval(), repeated, found)
    torch.testing.assert_close(found.log_probs, expected.float(), rtol=1e-4, atol=1e-4)


def test_served_answers_are_rows_of_the_models_tokens(fake: Any) -> None:
    model = tiny(seed=0)
    server = Server(url(fake), "m", log_probs=True)
    found = Served(server, model, HOW)(["one", "nineteen words"], 2, row_draws(0, range(4), 12))
    assert model.texts(found) == ["ONE", "ONE", "NINETEEN WORDS", "NINETEEN WORDS"]
    assert found.ended.tolist() == [True, True, False, False]
    assert found.ids[0, 3] == model.end_id
    assert int(found.mask[2].sum()) == len("NINETEEN WORDS"), "cut off: no end token"
    assert found.log_probs[0, :3].tolist() == [-0.5] * 3
    assert found.log_probs[0, 3].isnan(), "the server says nothing of the end token"
    assert found.log_probs[0, 4:].eq(0).all()
    assert len({body["seed"] for body in fake.seen}) == 4, "a seed a row"
    without = Served(Server(url(fake), "m"), model, HOW)(["one"])
    assert without.log_probs.isnan().all()


def test_a_prompts_seeds_do_not_depend_on_who_else_is_asked(fake: Any) -> None:
    sampler = Served(Server(url(fake), "m"), tiny(seed=0), HOW)
    several_answers(sampler, ["a", "b"], 2, seed=5, numbers=[3, 8])
    both = {(body["messages"][0]["content"], body["seed"]) for body in fake.seen}
    fake.seen.clear()
    several_answers(sampler, ["b"], 2, seed=5, numbers=[8])
    assert {(body["messages"][0]["content"], body["seed"]) for body in fake.seen} == {
        x for x in both if x[0] == "b"
    }


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Source(kind="server"), "--sampler.url http"),
        (Source(kind="server", url="http://x/v1"), "--sampler.model NAME"),
        (Source(url="http://x/v1"), "set sampler.kind=server as well"),
        (Source(kind="server", url="x", model="m"), "expected an address"),
    ],
)
def test_half_a_setting_is_refused(source: Source, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        source.build("gkd", tiny(seed=0), HOW)
    with pytest.raises(CounterpointError, match="top_k"):
        Source(kind="server", url="http://x/v1", model="m").build("gkd", tiny(seed=0), Sampler(top_k=3))


def problems() -> ProblemData:
    rows = [Problem(f"{n}+1=", solution=f"{n + 1}", answer=f"{n + 1}") for n in range(8)]
    return ProblemData(
        "sums", Problems(rows, "number"), Problems(rows[:2], "number"), Problems(rows[:2], "number")
    )


SMALL = {"lora_rank": 0, "batch_size": 4, "max_new_tokens": 4, "epochs": 1.0}
SAMPLING: dict[str, dict[str, Any]] = {
    "gkd": SMALL | {"on_policy": 1.0, "template": "{demonstration}#{prompt}"},
    "cream": SMALL | {"rounds": 1, "answers": 2, "seed_examples": 2},
    "self-rewarding": SMALL | {"rounds": 1, "answers": 2, "seed_examples": 2, "judge": "verifier"},
    "unisd": SMALL
    | {
        "mode": "contrastive",
        "contrast.negatives": "sampled",
        "contrast.num_negatives": 1,
        "template": "{demonstration}#{prompt}",
    },
}


@pytest.mark.parametrize("key", SAMPLING)
def test_every_method_that_samples_can_sample_from_a_server(key: str, fake: Any, tmp_path: Path) -> None:
    server = {"sampler": "server", "sampler.url": url(fake), "sampler.model": "m"}
    made = load(key).settings(**SAMPLING[key], **server)
    with Run(tmp_path, seed=0, progress=False) as run:
        made.fit(tiny(seed=0, length=64), problems(), run)
    assert fake.seen
    assert {body["model"] for body in fake.seen} == {"m"}
    assert all(body["max_tokens"] == 4 for body in fake.seen)


@pytest.mark.parametrize(
    ("key", "settings"),
    [("sdft", {}), ("unisd", {"mode": "plain"}), ("unisd", {"mode": "agreement_tok_random"})],
)
def test_where_the_students_own_answers_are_needed_a_server_is_refused(
    key: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    given = SMALL | {"sampler": "server", "sampler.url": "http://x/v1", "sampler.model": "m"}
    made = load(key).settings(**given | {"template": "{demonstration}#{prompt}"} | settings)
    with (
        pytest.raises(
            CounterpointError, match=r"the student itself would say at this step; a server samples"
        ),
        Run(tmp_path, seed=0, progress=False) as run,
    ):
        made.fit(tiny(seed=0, length=64), problems(), run)
