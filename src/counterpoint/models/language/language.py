"""Any causal language model of transformers with its tokenizer, as one module: text and conversations in, batches of tokens out.

How tokens become hidden states is in ``running``; adapters, templates, folders and shared prompts have modules of their own.
Does not know: sampling, losses, training. B rows, L positions, T completion positions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoint.conversation import Completion, Message, Prompt, pictures_of
from counterpoint.errors import CounterpointError
from counterpoint.models import deferred, deferred_folder, model_folders, tokens
from counterpoint.models.language import rendering, templates
from counterpoint.models.language.adapters import Adapter, LoRA, attach, goes_on
from counterpoint.models.language.own_forward import Pass
from counterpoint.models.language.recompute import recompute_blocks
from counterpoint.models.language.row_batches import batch
from counterpoint.models.language.running import Running
from counterpoint.models.language.vision.pictures import Pictures, of_folder
from counterpoint.models.tokens import Replies, Tokens

__all__ = ["Completion", "Language", "LoRA", "Message", "Prompt", "adapt", "load", "same_vocabulary"]


class Language(Running):
    """A causal language model with its tokenizer.

    Args:
        causal: a transformers causal model, or a PEFT model around one.
        tokenizer: its tokenizer.
        runs: how it must be run, where that is settled already; None tries it on a few tokens.
        max_length: rows of more tokens are cut at their end; None cuts none.
        pictures: of a vision-language model, what reads the pictures of rows.

    Raises:
        CounterpointError: not a causal model, one whose own scores cannot be had, or one whose head has an adapter.

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny(seed=0)
    >>> prompts = model.prompts(["1+1=", "20+2="])
    >>> prompts.lengths.tolist()
    [6, 7]
    >>> model(prompts.ids, prompts.mask).shape
    torch.Size([2, 7, 32])
    """

    def __init__(
        self,
        causal: nn.Module,
        tokenizer: Any,
        *,
        runs: Pass | None = None,
        max_length: int | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        super().__init__(causal, runs, pictures)
        self.tokenizer = tokenizer
        self.max_length = max_length

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids that end a completion: the model's, the tokenizer's, and the one that ends a turn in the chat template."""
        given = getattr(getattr(self.base, "generation_config", None), "eos_token_id", None)
        given = [] if given is None else [given] if isinstance(given, int) else list(given)
        for end in (self.tokenizer.eos_token_id, templates.stop_id(self.tokenizer)):
            if end is not None:
                given.append(end)
        if not given:
            raise CounterpointError(
                "the tokenizer has no end-of-sequence token, so no completion could end; "
                "set tokenizer.eos_token and save the folder again"
            )
        return tuple(dict.fromkeys(given))

    def prompts(self, texts: Sequence[Prompt], *, width: int | None = None) -> Tokens:
        """Tokenise prompts, left-padded: through the chat template when there is one, ready for the model's turn.

        Args:
            texts: plain strings (one user turn each, unless they carry the template already), ``Text`` that is read as it
                stands, or conversations.
            width: pad to this many positions.

        Raises:
            CounterpointError: a prompt longer than the model's positions; nothing is ever cut in silence.
        """
        rows = self.prompt_ids(texts)
        self._check(rows)
        return tokens.pad(rows, side="left", fill=self.pad_id, width=width).to(self.device)

    def rows(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], *, answers: int = 1
    ) -> tuple[Tokens, Replies]:
        """Tokenise prompts with what follows them: the ids of the whole text or conversation, and who wrote them.

        Args:
            prompts: text or conversations.
            completions: for each prompt the assistant's text, or messages; the loss is about the assistant's (``authored``).
            answers: the rows are this many answers to each prompt, all first ones, then all second ones; the answers to a
                prompt begin at one token, so that they differ in nothing but themselves.

        Returns:
            Left-padded prompts and right-padded completions, cut where a row passes ``max_length``.

        Raises:
            CounterpointError: a row longer than the model's positions; messages that the chat template refuses, or for which
                there is none.
        """
        rendered = self.rendered(list(zip(prompts, completions, strict=True)))
        self._check([row.ids[: self.max_length] for row in rendered])
        before, after = batch(rendered, answers=answers, cut=self.max_length, fill=self.pad_id)
        return before.to(self.device), after.to(self.device)

    def rendered(self, rows: Sequence[tuple[Prompt, Completion]]) -> list[rendering.Rendered]:
        """Ids, authors and borders of prompts with their completions; see ``rendering.render`` and, for pictures, ``pictures``."""
        seen = self._with_pictures([prompt for prompt, _ in rows])
        if self.pictures is None or not seen:
            return rendering.render(self.tokenizer, rows)
        text = iter(rendering.render(self.tokenizer, [row for at, row in enumerate(rows) if at not in seen]))
        return [self.pictures.rendered(*row) if at in seen else next(text) for at, row in enumerate(rows)]

    def prompt_ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Ids of prompts, each ready for the model's turn."""
        seen = self._with_pictures(prompts)
        if self.pictures is None or not seen:
            return rendering.prompt_ids(self.tokenizer, prompts)
        text = iter(
            rendering.prompt_ids(self.tokenizer, [p for at, p in enumerate(prompts) if at not in seen])
        )
        return [self.pictures.prompt(p) if at in seen else next(text) for at, p in enumerate(prompts)]

    def readable(self, ids: Sequence[int]) -> list[int]:
        """Ids of a row as the tokenizer decodes them: pictures are the token that stands for them."""
        return list(ids) if self.pictures is None else self.pictures.readable(ids)

    @staticmethod
    def _with_pictures(prompts: Sequence[Prompt]) -> set[int]:
        return {at for at, p in enumerate(prompts) if not isinstance(p, str) and pictures_of(p)}

    def completions(self, texts: Sequence[str], *, width: int | None = None) -> Tokens:
        """Tokenise texts as the model itself writes them, right-padded, each with the token that ends a turn.

        For what stands by itself; what belongs to prompts goes through ``rows``, where their border is the whole text's.
        """
        rows = [[*row, self.end_id] for row in self._encode(list(texts), special=False)]
        self._check(rows)
        return tokens.pad(rows, side="right", fill=self.pad_id, width=width).to(self.device)

    def texts(self, completions: Tokens) -> list[str]:
        """Decode token rows into text, without special tokens."""
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in completions.rows()]

    @property
    def pad_id(self) -> int:
        """The id that fills padding; masks, never ids, say what is padding."""
        pad = self.tokenizer.pad_token_id
        return self.end_id if pad is None else pad

    @property
    def end_id(self) -> int:
        """The id that a completion ends with: the turn's end in the chat template, or the end of the sequence."""
        for end in (templates.stop_id(self.tokenizer), self.tokenizer.eos_token_id):
            if end is not None:
                return int(end)
        return self.stops[0]

    def _encode(self, texts: list[str], *, special: bool) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=special)["input_ids"] if texts else []

    def _check(self, rows: list[list[int]]) -> None:
        longest = max(map(len, rows), default=0)
        if self.limit is not None and longest >= self.limit:
            raise CounterpointError(
                f"a text of {longest} tokens does not fit this model's {self.limit} positions; "
                "shorten it, or leave the row out with --max-length"
            )
        size = self.head.weight.shape[0]
        highest = max((max(row) for row in rows if row), default=0)
        if highest >= size:
            raise CounterpointError(
                f"the tokenizer emitted id {highest}, but the model's head has {size} rows: they are not from one folder"
            )

    def with_lora(self, lora: LoRA, seed: int = 0) -> Language:
        """Return this model with fresh adapters (a no-op at the start: B is 0); only they are trainable."""
        if self.adapted:
            raise CounterpointError("this model has adapters already; merge them first: model.merged()")
        return Language(
            attach(self.causal, lora, seed),
            self.tokenizer,
            runs=self.runs,
            max_length=self.max_length,
            pictures=self.pictures,
        )

    def merged(self) -> Language:
        """Return a copy with the adapters added into the weights; the model itself when there are none."""
        if not self.adapted:
            return self
        far = bool(deferred.sources(self.causal))
        merged = deferred_folder.merged(self.causal) if far else copy.deepcopy(self.causal).merge_and_unload()
        return Language(
            merged, self.tokenizer, runs=self.runs, max_length=self.max_length, pictures=self.pictures
        )

    def save(self, folder: Path | str, *, adapter: bool = False) -> Path:
        """Write an ordinary folder: safetensors, config, tokenizer. It appears whole or not at all.

        Args:
            folder: where; replaced when it exists and holds a model.
            adapter: write only the adapters (PEFT's folder) instead of merged weights.
        """
        if adapter and not self.adapted:
            raise CounterpointError(
                "adapter=True, but this model was trained in full; save it with adapter=False"
            )
        beside = None if self.pictures is None else self.pictures.processor.save_pretrained
        return model_folders.write(
            folder, self.causal if adapter else self.merged().causal, self.tokenizer, beside
        )


def load(
    spec: str | Path,
    *,
    lora: LoRA | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    quantization: str | None = None,
    recompute: bool = False,
) -> Language:
    """Load a transformers folder, an adapter folder, or a bundled model's name.

    Args:
        spec: a folder written by ``save_pretrained``, or a bundled name such as "smollm2-135m-instruct".
        lora: put fresh adapters on.
        seed: of the adapters' initial values.
        dtype: of the weights; float32 by default, which is what full training wants. A saved model has its source's.
        attention: its implementation, a name that transformers knows.
        quantization: "8bit" or "4bit", by bitsandbytes on a GPU; the weights are then frozen, so give adapters.
        recompute: each block's activations are computed again in the backward pass.

    Raises:
        CounterpointError: neither a folder nor a bundled name; a folder without a causal model.
        MissingExtra: transformers or peft is not installed.
    """
    causal, tokenizer = model_folders.read(spec, dtype, attention=attention, quantization=quantization)
    if recompute:
        recompute_blocks(causal)
    processor = model_folders.processor(spec)
    seen = None if processor is None else of_folder(processor, causal.config)
    model = Language(causal, tokenizer, pictures=seen)
    model.stops  # noqa: B018  (fails here, with its lesson, and not in the middle of a run)
    return model if lora is None else model.with_lora(lora, seed)


def adapt(model: Language, rank: int, seed: int = 0, adapter: Adapter | None = None) -> Language:
    """Put adapters of a rank on (alpha twice the rank, dropout 0.05, every linear layer but the head, unless ``adapter``
    says otherwise); 0 leaves it be. A model that brings adapters along goes on with them, and this is said.
    """
    if rank < 0:
        raise CounterpointError(f"lora_rank={rank}: expected 0 (train every weight) or a rank such as 64")
    if model.adapted:
        goes_on(model.causal, rank)
        return model
    chosen = adapter or Adapter()
    if rank == 0:
        if getattr(model.base, "is_quantized", False):
            raise CounterpointError(
                "lora_rank=0 trains every weight, and quantized ones cannot be trained; give a rank: --lora-rank 16"
            )
        chosen.unread()
        return model
    return model.with_lora(chosen.of(rank), seed)


def same_vocabulary(one: Language, other: Language) -> None:
    """Raise unless every id means the same to both models; padded tail rows of a head do not matter.

    Raises:
        CounterpointError: the first token that differs.
    """
    compare_vocabularies(one.tokenizer.get_vocab(), other.tokenizer.get_vocab())


def compare_vocabularies(ours: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """Raise unless a student's and a teacher's tokens have the same ids.

    Raises:
        CounterpointError: the first token that differs.

    >>> compare_vocabularies({"a": 0}, {"a": 1})
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: student and teacher have different vocabularies: 'a' is id 0 to the student and 1 to ...
    """
    if ours == theirs:
        return
    for token, number in sorted(ours.items(), key=lambda item: item[1]):
        if theirs.get(token) != number:
            raise CounterpointError(
                f"student and teacher have different vocabularies: {token!r} is id {number} to the student and "
                f"{theirs.get(token, 'unknown')} to the teacher; token-level distillation needs one tokenizer "
                "(distil on sampled text instead: the method sft on the teacher's completions)"
            )
    extra = sorted(set(theirs) - set(ours))
    raise CounterpointError(
        f"the teacher knows {len(extra)} tokens that the student does not, first {extra[0]!r}; "
        "token-level distillation needs one tokenizer"
    )
