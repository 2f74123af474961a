"""A server that follows the policy writes the turns of episodes: it goes on from the very tokens of the episode so far."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import State, serving
from test_engine import POLICIES, logged, trained

from counterpoint.generation.episodes import play
from counterpoint.generation.sampler import Sampled, Sampler, row_draws
from counterpoint.generation.samplers import Own, PolicySource
from counterpoint.generation.tools import Tools
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import load

TOOL = '''
def more(n: int) -> int:
    """Count on.

    Args:
        n: the number.
    """
    return n + 1
'''
ALPHABET = "0123456789+=on"
"""So few characters that a random model often ends a turn."""
SAID = [{"role": "user", "content": "on"}]


@dataclass(frozen=True)
class AsTheServer:
    """Samples as the server of the tests does, which draws its numbers from a row's seed."""

    how: Sampler

    @property
    def max_new_tokens(self) -> int:
        return self.how.max_new_tokens

    def __call__(self, model: Any, prompts: Any, draws: torch.Tensor) -> Sampled:
        seeds = [int(2**31 * float(row[0])) for row in draws]
        return self.how(
            model, prompts, torch.cat([row_draws(seed, [0], self.max_new_tokens) for seed in seeds])
        )


def recorded(state: State) -> list[tuple[list[int], list[int]]]:
    """The prompts that a server is given from now on, and what it answers."""
    complete, calls = state.complete, []

    def recording(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = complete(body)
        calls.append((body["prompt"], reply["choices"][0]["token_ids"]))
        return status, reply

    state.complete = recording  # type: ignore[method-assign]
    return calls


def continued(calls: list[tuple[list[int], list[int]]]) -> int:
    """How many calls went on from another's prompt and its answer."""
    heads = [prompt + ids for prompt, ids in calls]
    return sum(any(prompt[: len(head)] == head for head in heads) for prompt, _ in calls)


def test_an_episode_of_a_server_is_the_models_own(tmp_path: Path) -> None:
    folder, how = tiny(seed=0, alphabet=ALPHABET).save(tmp_path / "base"), Sampler(max_new_tokens=12)
    draws = row_draws(0, range(8), 5 * 12).reshape(8, 5, 12)
    prompts = [f"{n}+{n}=" for n in range(8)]
    with serving(folder) as (url, state):
        model = load(folder)
        engine = PolicySource("vllm", url, "base").build("grpo", model, how, folder=tmp_path)
        engine.follow()
        calls = recorded(state)
        theirs = play(engine, prompts, lambda talks, _: [SAID for _ in talks], draws)
    own = play(Own(model, AsTheServer(how)), prompts, lambda talks, _: [SAID for _ in talks], draws)
    assert max(map(len, own.lengths)) > 2
    assert continued(calls) == sum(len(lengths) - 1 for lengths in own.lengths)
    assert theirs.completions.rows() == own.completions.rows()
    assert theirs.lengths == own.lengths
    assert theirs.talks == own.talks
    assert torch.equal(theirs.completions.authored, own.completions.authored)
    assert torch.equal(theirs.completions.ended, own.completions.ended)
    torch.testing.assert_close(theirs.completions.log_probs, own.completions.log_probs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("key", "rank"), [("grpo", 0), ("grpo", 4), ("pi-distill", 4)])
def test_tools_answer_what_the_server_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, rank: int
) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    monkeypatch.setattr(Tools, "replies", lambda self, text: [{"role": "tool", "content": "on"}])
    folder = tiny(seed=0, alphabet=ALPHABET).save(tmp_path / "base")
    settings = {
        **POLICIES[key], "max_new_tokens": 12, "episode.turns": 3, "episode.tools": f"{tmp_path}/tool.py:more",
        **({"resample": 1} if key == "grpo" else {}),
    }  # fmt: skip
    with serving(folder) as (url, state):
        calls = recorded(state)
        events = trained(key, folder, url, tmp_path / "out", rank, **settings)
        assert continued(calls)
        state.models, state.deaf = State(load(folder)).models, True
        stale = trained(key, folder, url, tmp_path / "stale", rank, **settings)
    assert [logged(event, "engine_gap") < 1e-4 for event in events] == [True] * 4
    assert logged(stale[0], "engine_gap") < 1e-4
    assert logged(stale[-1], "engine_gap") > 0.03
