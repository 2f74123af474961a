"""Sampling from a vLLM server that follows the model in training: token ids in, token ids and log-probabilities out.

The server is a stock ``vllm serve`` in an environment of its own; before it samples it is given the weights of this step:
adapters under a new name each time, whole weights by reloading a folder that both sides see. Its tokens are the policy's up to
how the two round, which ``objectives.preference.mismatch`` weighs out. The same seeds need not give the same tokens on a
GPU: such a run promises consistency, not bits.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import shutil
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.server import Server
from counterpoint.models import sharding, tokens
from counterpoint.models.language.language import Language, Prompt


@dataclass
class Engine:
    """A vLLM server that serves the model in training.

    Attributes:
        server: its address and the name of the base model it serves. model: the model in training. how: to sample.
        folder: where weights are written for the server, which reads them there.

    Raises:
        CounterpointError: settings that the server has no like of, or a model in shards.
    """

    server: Server
    model: Language
    how: Sampler
    folder: Path
    name: str = ""
    _version: tuple[int, ...] | None = None
    _number: int = 0
    _stem: str = field(default="", repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        """Answer every prompt ``n`` times; each row's seed follows from its first draw. See ``samplers.Samples``.

        Raises:
            CounterpointError: the server cannot be reached, or gives no token ids or no log-probabilities.
        """
        self._follow()
        rows = [row for row in self.model.prompts(prompts).rows() for _ in range(n)]
        seeds = [None] * len(rows) if draws is None else [int(2**31 * float(row[0])) for row in draws]
        bodies = [self._body(row, seed) for row, seed in zip(rows, seeds, strict=True)]
        with ThreadPoolExecutor(max_workers=max(1, min(self.server.at_once, len(bodies)))) as pool:
            replies = list(pool.map(self._ask, bodies))
        padded = tokens.pad([ids for ids, _, _ in replies], side="right", fill=self.model.pad_id)
        log_probs = torch.full(padded.ids.shape, math.nan)
        for at, (ids, given, _) in enumerate(replies):
            log_probs[at, : len(ids)] = torch.tensor(given)
        ended = torch.tensor([ended for _, _, ended in replies], dtype=torch.bool)
        device = self.model.device
        padded = padded.to(device)
        log_probs = log_probs.to(device).masked_fill(padded.mask == 0, 0.0)
        return Sampled(padded.ids, padded.mask, log_probs, ended.to(device))

    def _follow(self) -> None:
        """Give the server the weights of this step, where they changed since it was last asked; all processes wait for it."""
        if sharding.apart(self.model):
            raise CounterpointError(
                "weights in shards cannot be sent to a server yet; leave --shard or sampler.kind=vllm out"
            )
        version = tuple(p._version for p in self.model.parameters() if p.requires_grad)
        if version == self._version:
            return
        if not self._stem:
            self._stem = _agreed(f"policy-{uuid.uuid4().hex[:8]}")
        self._number += 1
        if not dist.is_initialized() or dist.get_rank() == 0:
            self._send()
        if dist.is_initialized():
            dist.barrier()
        self.name = f"{self._stem}-{self._number:09d}" if self.model.adapted else self.server.model
        self._version = version

    def _send(self) -> None:
        target = self.folder.absolute() / f"{self._stem}-{self._number:09d}"
        self.model.save(target, adapter=self.model.adapted)
        if self.model.adapted:
            self._load(target)
            if self.name:  # a server has place for few adapters
                self.server.post("v1/unload_lora_adapter", {"lora_name": self.name})
        else:
            self._order("pause?mode=wait", {})
            try:
                given = {"weights_path": str(target), "is_checkpoint_format": True}
                self.server.post("collective_rpc", {"method": "reload_weights", "kwargs": given})
                self.server.post("reset_prefix_cache", {})
            finally:
                self.server.post("resume", {})
        for older in self.folder.glob(f"{self._stem}-*"):
            if older.name < target.name:
                shutil.rmtree(older, ignore_errors=True)

    def _load(self, folder: Path) -> None:
        self._order("v1/load_lora_adapter", {"lora_name": folder.name, "lora_path": str(folder)})

    def _order(self, path: str, body: dict[str, Any]) -> None:
        try:
            self.server.post(path, body)
        except CounterpointError as error:
            if "status 404" not in str(error):
                raise
            start = (
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL --enable-lora"
                if self.model.adapted
                else "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL"
            )
            raise CounterpointError(
                f"{self.server.url} takes no new weights (it has no /{path.partition('?')[0]}); start it by {start} "
                "--logprobs-mode processed_logprobs"
            ) from None

    def _load_again(self) -> None:
        """A server that was started again knows the base alone; the first request to notice brings the adapter."""
        with (
            self._lock,
            contextlib.suppress(CounterpointError),
        ):  # it is there when another request was faster
            self._load(self.folder.absolute() / self.name)

    def _body(self, ids: list[int], seed: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name, "prompt": ids, "max_tokens": self.how.max_new_tokens, "temperature": self.how.temperature,
            "top_p": self.how.top_p, "top_k": self.how.top_k or -1, "logprobs": 1, "return_token_ids": True,
            "stop_token_ids": list(self.model.stops), "add_special_tokens": False,
        }  # fmt: skip
        return body if seed is None else {**body, "seed": seed}

    def _ask(self, body: dict[str, Any]) -> tuple[list[int], list[float], bool]:
        try:
            reply = self.server.post("v1/completions", body)
        except CounterpointError as error:
            if not self.model.adapted or "status 404" not in str(error):
                raise
            self._load_again()
            reply = self.server.post("v1/completions", body)
        try:
            (choice,) = reply["choices"]
            ids, given = (
                list(choice["token_ids"]),
                [float(each) for each in choice["logprobs"]["token_logprobs"]],
            )
        except (KeyError, TypeError, ValueError):
            raise CounterpointError(
                f"{self.server.url} gave no token ids with their log-probabilities; it is to be vLLM of 0.11 or later, started by "
                "vllm serve MODEL --logprobs-mode processed_logprobs"
            ) from None
        if len(ids) != len(given):
            raise CounterpointError(
                f"{self.server.url} gave {len(ids)} tokens with {len(given)} log-probabilities"
            )
        return ids, given, choice["finish_reason"] == "stop"


def root_of(url: str, anywhere: bool) -> str:
    """The server's address without the version; sampling and weights go to loopback and private addresses only, unless told.

    Raises:
        CounterpointError: another address.

    >>> root_of("http://127.0.0.1:8000/v1", anywhere=False)
    'http://127.0.0.1:8000'
    """
    host = urlsplit(url).hostname or ""
    try:
        near = ipaddress.ip_address(host).is_private
    except ValueError:
        near = host == "localhost"
    if not near and not anywhere:
        raise CounterpointError(
            f"sampler.url={url}: a server whose weights can be replaced is to stand at a loopback or private address, such as "
            "http://127.0.0.1:8000; if it is meant to be elsewhere, sampler.anywhere=true"
        )
    return url.rstrip("/").removesuffix("/v1")


def _agreed(word: str) -> str:
    """The first process's word."""
    if not dist.is_initialized():
        return word
    words = [word]
    dist.broadcast_object_list(words, src=0)
    return words[0]
