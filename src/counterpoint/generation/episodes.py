"""Episodes of several turns: the model writes, a tool or a user answers, the model goes on. One token row an episode.

N episodes, T token positions of the longest one (its turns and what was answered), U turns at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.conversation import Conversation, Message, Prompt, following, turns
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.samplers import Completes
from counterpoint.models import tokens
from counterpoint.models.language.language import Language
from counterpoint.models.language.next_turn import ids_between

Respond = Callable[[Sequence[Conversation], Sequence[int]], list[list[Message]]]
"""What answers turns: conversations that go on and the numbers of their episodes in, messages out; none end an episode."""


@dataclass(frozen=True)
class Episode(Sampled):
    """Rows of episodes: the model's tokens, and others' among them.

    Attributes:
        author: [N, T] bool, True on what the model wrote. Elsewhere ``log_probs`` is 0.
    """

    author: Tensor

    @property
    def authored(self) -> Tensor:
        """[N, T] bool, the tokens that the model wrote."""
        return self.author

    def __getitem__(self, rows: Tensor | slice) -> Episode:
        return Episode(
            self.ids[rows], self.mask[rows], self.log_probs[rows], self.ended[rows], self.author[rows]
        )


@dataclass(frozen=True)
class Played:
    """Episodes and what was said in them.

    Attributes:
        completions: everything after the prompts.
        talks: [N] conversations, prompt included.
        lengths: [N] tokens of each turn that the model wrote.
    """

    completions: Episode
    talks: list[Conversation]
    lengths: list[list[int]]

    def own_texts(self) -> list[str]:
        """[N] all that the model wrote, its turns joined by line breaks."""
        return ["\n".join(_own(talk, len(n))) for talk, n in zip(self.talks, self.lengths)]

    def last_texts(self) -> list[str]:
        """[N] the last turn that the model wrote."""
        return [(_own(talk, len(n)) or [""])[-1] for talk, n in zip(self.talks, self.lengths)]


def play(
    sampler: Completes,
    prompts: Sequence[Prompt],
    respond: Respond,
    draws_NUT: Tensor,
) -> Played:
    """Sample turn after turn until nobody answers, a turn is cut, or U turns are over; ``sampler.follow`` comes first.

    Args:
        sampler: who writes: the model itself, or a server that follows it; it is given the tokens of the episode so far.
        prompts: N of them.
        respond: called once a turn with the conversations that go on, whose last message is the model's.
        draws_NUT: uniform numbers [N, U, max_new_tokens].

    >>> from counterpoint.generation.samplers import Own
    >>> from counterpoint.models.language.characters import tiny
    >>> model, draws = tiny(seed=0), torch.rand(1, 2, 4, generator=torch.Generator().manual_seed(0))
    >>> said = [{"role": "user", "content": "go on"}]
    >>> sampler = Own(model, Sampler(max_new_tokens=4))
    >>> played = play(sampler, ["1+1="], lambda talks, _: [said for _ in talks], draws)
    >>> played.completions.author.shape == played.completions.ids.shape
    True
    """
    model, how = sampler.model, sampler.how
    count, most = draws_NUT.shape[:2]
    if len(prompts) != count:
        raise CounterpointError(
            f"{len(prompts)} prompts and random numbers for {count} episodes; give one row each"
        )
    heads = model.prompts(list(prompts)).rows()
    talks = [turns(prompt) for prompt in prompts]
    ids: list[list[int]] = [[] for _ in range(count)]
    own: list[list[bool]] = [[] for _ in range(count)]
    logp: list[list[float]] = [[] for _ in range(count)]
    lengths: list[list[int]] = [[] for _ in range(count)]
    ended = [False] * count
    alive = list(range(count))
    for turn in range(most):
        alive = [at for at in alive if _fits(model, how, len(heads[at]) + len(ids[at]))]
        if not alive:
            break
        contexts = tokens.pad([heads[at] + ids[at] for at in alive], side="left", fill=model.pad_id)
        sampled = sampler.complete(contexts.to(model.device), draws_NUT[alive, turn])
        for at, row, text, values, end in zip(
            alive, sampled.rows(), model.texts(sampled), sampled.log_probs.tolist(), sampled.ended.tolist()
        ):
            ids[at] += row
            own[at] += [True] * len(row)
            logp[at] += values[: len(row)]
            lengths[at].append(len(row))
            talks[at] = following(talks[at], {"role": "assistant", "content": text})
            ended[at] = end
        alive = [at for at in alive if ended[at]]  # a turn that was cut is the last one
        if turn == most - 1:
            break
        for at, messages in zip(list(alive), respond([talks[at] for at in alive], list(alive))):
            if not messages:
                alive.remove(at)
                continue
            between = ids_between(model.tokenizer, messages, talks[at], ids[at][-1])
            if not _fits(model, how, len(heads[at]) + len(ids[at]) + len(between)):
                alive.remove(at)
                ended[at] = False
                continue
            ids[at] += between
            own[at] += [False] * len(between)
            logp[at] += [0.0] * len(between)
            talks[at] = following(talks[at], *messages)
    rows = tokens.pad(ids, side="right", fill=model.pad_id).to(model.device)
    width = rows.width
    filled = lambda values, zero: torch.tensor(  # noqa: E731
        [row + [zero] * (width - len(row)) for row in values], device=model.device
    ).reshape(count, width)
    return Played(
        Episode(
            rows.ids,
            rows.mask,
            filled(logp, 0.0).float(),
            torch.tensor(ended, dtype=torch.bool, device=model.device),
            filled(own, False).bool(),
        ),
        talks,
        lengths,
    )


def _fits(model: Language, how: Sampler, length: int) -> bool:
    return model.limit is None or length + how.max_new_tokens <= model.limit


def _own(talk: Conversation, count: int) -> list[str]:
    """The contents of the last ``count`` turns of the assistant."""
    contents = [str(message["content"]) for message in talk if message["role"] == "assistant"]
    return contents[-count:] if count else []
