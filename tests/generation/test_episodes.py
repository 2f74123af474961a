"""Episodes of several turns: whose tokens they are, that a conversation's own rendering gives the same ids, tools and their failures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.conversation import Conversation
from counterpoint.errors import CounterpointError
from counterpoint.generation.episodes import play
from counterpoint.generation.sampler import Sampled, Sampler, row_draws
from counterpoint.generation.samplers import Own
from counterpoint.generation.tools import Tools, calls, load, toolbox
from counterpoint.models.language import rendering
from counterpoint.models.language.characters import tiny, tokenizer
from counterpoint.models.language.next_turn import ids_between
from counterpoint.models.language.templates import CHATML
from counterpoint.models.tokens import Tokens


@dataclass(frozen=True)
class Scripted:
    """Writes given turns, one list an episode; what is written is the same whatever the context."""

    turns: list[list[str]]
    max_new_tokens: int = 40

    def __call__(self, model: Any, prompts: Tokens, draws: torch.Tensor) -> Sampled:
        contexts = model.tokenizer.batch_decode(prompts.rows())
        texts = []
        for number in (int(context.split("episode ")[1][0]) for context in contexts):
            texts.append(self.turns[number].pop(0))
        rows = model.completions(texts)
        return Sampled(rows.ids, rows.mask, -rows.mask.float(), torch.ones(len(rows), dtype=torch.bool))


def draws(episodes: int, turns: int, width: int = 40) -> torch.Tensor:
    return row_draws(0, range(episodes), turns * width).reshape(episodes, turns, width)


def chatml() -> Any:
    names = tokenizer()
    names.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    names.chat_template = CHATML
    return names


@pytest.mark.parametrize("template", ["characters", "chatml"])
def test_an_episodes_ids_and_authors_are_those_of_the_whole_conversation(template: str) -> None:
    model = tiny(seed=0, length=400)
    if template == "chatml":
        model.tokenizer = chatml()
        model.causal.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    script = Scripted([["call a", "call b", "done"], ["at once"]])

    def respond(talks: Any, numbers: Any) -> list[list[dict[str, str]]]:
        said = [talk[-1]["content"] for talk in talks]
        return [[{"role": "tool", "content": f"saw {text}"}] if "call" in text else [] for text in said]

    played = play(Own(model, script), ["episode 0", "episode 1"], respond, draws(2, 4))
    rows, own = played.completions.rows(), played.completions.authored
    assert [len(lengths) for lengths in played.lengths] == [3, 1]
    assert [played.last_texts(), played.own_texts()[1]] == [["done", "at once"], "at once"]
    for at, talk in enumerate(played.talks):
        whole = rendering.conversation(model.tokenizer, talk)
        head = rendering.prompt_ids(model.tokenizer, [f"episode {at}"])[0]
        both = head + rows[at]
        assert both == whole.ids[: len(both)], "what a template writes after the last turn's end is nobody's"
        length = len(rows[at])
        written = [ids for ids, mine in zip(rows[at], own[at, :length].tolist()) if mine]
        assert sum(played.lengths[at]) == len(written)
        text = model.tokenizer.decode(written)
        assert "saw" not in text
        assert all(
            turn in text for turn in ("call a", "call b", "done")[: len(played.lengths[at])] if at == 0
        )
    assert (played.completions.log_probs[~own] == 0).all()
    assert (played.completions.log_probs[own] == -1).all()
    assert not own[played.completions.mask == 0].any()
    part = played.completions[torch.tensor([1])]
    assert torch.equal(part.authored, own[1:])


def test_a_turn_that_is_cut_and_a_full_context_end_an_episode() -> None:
    model = tiny(seed=0, length=48)
    said = [{"role": "user", "content": "on"}]
    played = play(
        Own(model, Sampler(max_new_tokens=3)),
        ["1+1="],
        lambda talks, _: [said for _ in talks],
        draws(1, 9, 3),
    )
    assert played.lengths == [[3]]
    assert not played.completions.ended[0]
    script = Scripted([["a"] * 9], max_new_tokens=10)
    full = play(Own(model, script), ["episode 0"], lambda talks, _: [said for _ in talks], draws(1, 9, 10))
    assert 1 < len(full.lengths[0]) < 9
    assert not full.completions.ended[0]
    with pytest.raises(CounterpointError, match="random numbers for 2 episodes"):
        play(Own(model, script), ["episode 0"], lambda talks, _: [said], draws(2, 1))


def test_an_episode_does_not_depend_on_its_neighbours() -> None:
    model = tiny(seed=0)
    said = [{"role": "user", "content": "on"}]
    respond = lambda talks, _: [said for _ in talks]  # noqa: E731
    how, uniform = Sampler(max_new_tokens=6), draws(3, 3, 6)
    together = play(Own(model, how), ["1+1=", "20+20=", "3"], respond, uniform)
    alone = play(Own(model, how), ["3"], respond, uniform[2:])
    assert together.completions.rows()[2] == alone.completions.rows()[0]


def test_no_template_no_second_turn() -> None:
    names = tokenizer()
    names.chat_template = None
    with pytest.raises(CounterpointError, match="several turns needs a chat template"):
        ids_between(names, [{"role": "user", "content": "x"}], Conversation(), 2)
    names.chat_template = "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}<old>{% else %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(CounterpointError, match="writes a turn of the assistant differently"):
        ids_between(names, [{"role": "user", "content": "x"}], Conversation(), 2)


def double(n: int) -> int:
    """Double a number.

    Args:
        n: the number.
    """
    if n > 100:
        raise ValueError("too large")
    return 2 * n


CLASS = '''
class Shop:
    reward = 0.0

    def reset(self, answer):
        self.answer = answer
        return f"shop with {answer}"

    def buy(self, name: str) -> str:
        """Buy a thing.

        Args:
            name: of the thing.
        """
        self.reward = float(name == self.answer)
        return "bought " + name
'''


def test_tools_are_called_and_failures_are_answers() -> None:
    tools = Tools({"double": double})
    marked = '<tool_call>{"name": "double", "arguments": {"n": 4}}</tool_call>'
    assert tools.replies(marked + marked)[1]["content"] == "8"
    for text, message in (
        ('{"name": "dubble", "arguments": {}}', "error: there is no tool 'dubble'; did you mean 'double'"),
        ('{"name": "double", "arguments": {"n": 101}}', "error: too large"),
        ('{"name": "double", "arguments": 4}', "error: double takes arguments by name"),
        ('{"name": "double", "parameters": {"m": 4}}', "error: double() got an unexpected keyword"),
    ):
        (reply,) = tools.replies(text)
        assert reply["content"].startswith(message)
    assert calls('<tool_call>{"name": </tool_call>') == []
    assert calls("[1]") == []


def test_a_class_is_a_state_an_episode(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CLASS)
    box = load(f"{path}:Shop")
    assert [each["function"]["name"] for each in box.schemas] == ["buy"]
    (one, seen), (other, _) = box.open({"answer": "pear", "prompt": "p"}), box.open({"answer": "fig"})
    assert seen == "shop with pear"
    one.replies(json.dumps({"name": "buy", "arguments": {"name": "pear"}}))
    assert (one.reward, other.reward) == (1.0, 0.0)
    stateless, _ = toolbox([double]).open({})
    assert stateless.reward != stateless.reward


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine", "names no tools; write it as package.module:NAME"),
        ("missing.py:Shop", "cannot be imported as tools"),
        ("HERE:Nothing", "cannot be imported as tools"),
        ("HERE:number", "expected a function, a list of functions, or a class"),
        ("HERE:bare", "'bare' cannot be described to a model"),
    ],
)
def test_tools_that_are_none(tmp_path: Path, spec: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text("number = 4\ndef bare(n):\n    return n\n")
    with pytest.raises(CounterpointError, match=message):
        load(spec.replace("HERE", str(path)))
