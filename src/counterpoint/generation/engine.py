"""Sampling from a vLLM server that follows the model in training: token ids in, token ids and log-probabilities out.

The server is a stock ``vllm serve`` in an environment of its own; before it samples it is given the weights of this step:
adapters under a new name each time, whole weights by reloading a folder that both sides see. Its tokens are the policy's up to
how the two round, which ``objectives.preference.mismatch`` weighs out. The same seeds need not give the same tokens on a
GPU: such a run promises consistency, not bits.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.server import RETRIED, Server, ServerError
from counterpoint.kernels.evaluating import evaluating
from counterpoint.models import sharding, tokens
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.lending import lent
from counterpoint.models.tokens import Tokens

T = TypeVar("T")
log = logging.getLogger(__name__)
FIRST = 30.0
"""Seconds that a server which never answered is tried for."""
PROBED, FAR = 8, 0.5
"""Tokens that a server's first log-probabilities are compared on, and the mean difference that no rounding makes (16-bit weights: 0.05)."""
PLAIN = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Said in every request: a server takes what is left out from the model's generation_config.json."""


@dataclass
class Engine:
    """A vLLM server that serves the model in training.

    Attributes:
        server: its address and the name of the base model it serves. model: the model in training. how: to sample.
        folder: where weights are written for the server, which reads them there.
        patience: seconds that a server which answered before is waited for when it is gone.
    """

    server: Server
    model: Language
    how: Sampler
    folder: Path
    patience: float = 600.0
    name: str = ""
    _version: tuple[float, ...] | None = None
    _next: tuple[float, ...] = ()
    _number: int = 0
    _stem: str = field(default="", repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _given: int = 0

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        """Answer every prompt ``n`` times; each row's seed follows from its first draw. See ``samplers.Samples``.

        Raises:
            CounterpointError: the server cannot be reached, or gives no token ids or no log-probabilities.
        """
        self.follow()
        return self.complete(self.model.prompts([prompt for prompt in prompts for _ in range(n)]), draws)

    def complete(self, contexts: Tokens, draws: Tensor | None = None) -> Sampled:
        """Go on from rows of tokens with the weights that the server has; see ``samplers.Completes``."""
        rows = contexts.rows()
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

    def follow(self) -> None:
        """Give the server the weights of this step, where they changed since it was last asked.

        Every process calls it, or calls the engine, equally often; not inside a stage, before which it is called instead.
        """
        if not self._moved():
            return
        if not self._stem:
            self._stem = _agreed(f"policy-{uuid.uuid4().hex[:8]}")
        self._number += 1
        target = self.folder.absolute() / f"{self._stem}-{self._number:09d}"
        with lent(self.model) as plain:
            if plain is not None:
                plain.save(target, adapter=self.model.adapted)
        if not dist.is_initialized() or dist.get_rank() == 0:
            self._send(target)
        if dist.is_initialized():
            dist.barrier()
        self.name = target.name if self.model.adapted else self.server.model
        if self._version is None:
            self._compare()
        self._version = self._next

    def _compare(self) -> None:
        """A few tokens, before anything is learnt: a server of another model would go unnoticed.

        Raises:
            CounterpointError: its log-probabilities are not the model's.
        """
        prompt = self.model.prompts(["Hello"])
        reply: list[Any] = [None]
        if not dist.is_initialized() or dist.get_rank() == 0:
            reply = [
                self._ask(
                    {**self._body(prompt.rows()[0], 0), "max_tokens": PROBED, "top_p": 1.0, "top_k": -1}
                )
            ]
        if dist.is_initialized():
            dist.broadcast_object_list(reply, src=0)
        ids, theirs, _ = reply[0]
        completion = tokens.pad([ids], side="right", fill=self.model.pad_id)
        with torch.no_grad(), evaluating(self.model):
            own = completion_log_probs(
                self.model, prompt, completion, temperature=self.how.temperature or 1.0
            )
        gap = float((own.cpu() - torch.tensor([theirs])).abs().mean())
        if not gap <= FAR:
            raise CounterpointError(
                f"{self.server.url} serves another model than {self.name if self.model.adapted else 'the one it was given'}: of {len(ids)} "
                f"tokens its log-probabilities differ by {gap:.2g} on average; start it anew with the folder that --model names"
            )

    def _moved(self) -> bool:
        """Whether trained weights are others than the server was given; of shards that are whole for a while, as it was before.

        Told by sums: a tensor's counter of changes knows nothing of fused optimisers, nor of shards'.
        """
        if sharding.shards_of(self.model) and not sharding.apart(self.model):
            return self._version is None
        trained: list[Any] = [p for p in self.model.parameters() if p.requires_grad]
        local = [p.to_local() if sharding.is_shard(p) else p for p in trained]
        sums = [each.detach().sum(dtype=torch.float64) for each in local]
        self._next = tuple(torch.stack(sums).tolist()) if sums else ()
        return bool(sharding.most(int(self._next != self._version), self.model))

    def _send(self, target: Path) -> None:
        if self.model.adapted:
            self._patiently(lambda: self._load(target))
            if self.name:  # a server has place for few adapters; one that was started again has forgotten it
                with contextlib.suppress(ServerError):
                    self.server.send("v1/unload_lora_adapter", {"lora_name": self.name})
        else:
            self._patiently(lambda: self._reload(target))
        for older in self.folder.glob(f"{self._stem}-*"):
            if older.name < target.name:
                shutil.rmtree(older, ignore_errors=True)

    def _load(self, folder: Path) -> None:
        try:
            self._order("v1/load_lora_adapter", {"lora_name": folder.name, "lora_path": str(folder)})
        except ServerError as error:
            if (
                "already been loaded" not in error.content
            ):  # by another process, or by a request whose answer was lost
                raise

    def _reload(self, folder: Path) -> None:
        config = self.model.base.config
        if getattr(config, "tie_word_embeddings", False) and "device_config=cpu" in self._about():
            raise CounterpointError(
                f"{self.server.url} runs on a CPU, where vLLM keeps the old head when it reloads weights whose head is the embedding "
                "(tie_word_embeddings, as of vLLM 0.32); train adapters (--lora-rank 8), or a model with a head of its own"
            )
        self._order("pause?mode=wait", {})
        try:
            given = {"weights_path": str(folder), "is_checkpoint_format": True}
            self.server.send("collective_rpc", {"method": "reload_weights", "kwargs": given})
            self.server.send("reset_prefix_cache", {})
        finally:
            self.server.send("resume", {})

    def _about(self) -> str:
        """What the server says of its set-up, which it does where weights can be reloaded; nothing elsewhere."""
        try:
            return self.server.send("server_info", None).decode(errors="replace")
        except ServerError as error:
            if error.status is None:
                raise
            return ""

    def _order(self, path: str, body: dict[str, Any]) -> None:
        try:
            self.server.send(path, body)
        except ServerError as error:
            if error.status != 404:
                raise
            if "No adapter found" in error.content:
                raise CounterpointError(
                    f"{self.server.url} finds nothing at {body['lora_path']}, where the adapters of this step were written; start the "
                    "server where it sees this folder, and may read it"
                ) from None
            lora = "" if not self.model.adapted else " --lora-rank RANK"
            raise CounterpointError(
                f"{self.server.url} takes no new weights (it has no /{path.partition('?')[0]}); start it by counterpoint serve "
                f"MODEL{lora}, or by {'VLLM_ALLOW_RUNTIME_LORA_UPDATING=1' if lora else 'VLLM_SERVER_DEV_MODE=1'} vllm serve MODEL "
                f"{'--enable-lora ' if lora else ''}--logprobs-mode processed_logprobs"
            ) from None

    def _body(self, ids: list[int], seed: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name, "prompt": ids, "max_tokens": self.how.max_new_tokens, "temperature": self.how.temperature,
            "top_p": self.how.top_p, "top_k": self.how.top_k or -1, **PLAIN, "logprobs": 1, "return_token_ids": True,
            "stop_token_ids": list(self.model.stops), "add_special_tokens": False,
        }  # fmt: skip
        if self.how.stop:
            body |= {"stop": list(self.how.stop), "include_stop_str_in_output": True}
        return body if seed is None else {**body, "seed": seed}

    def _patiently(self, work: Callable[[], T], mend: Callable[[], None] | None = None) -> T:
        """Do it; again where the server was busy, or is gone and comes back, after ``mend``."""
        limit, wait, start = self.patience if self._version is not None else FIRST, 0.1, time.monotonic()
        while True:
            try:
                return work()
            except ServerError as error:
                forgotten = error.status == 404 and mend is not None and self.model.adapted
                passing = error.status is None or error.status in RETRIED
                if not (forgotten or passing) or time.monotonic() - start > limit:
                    raise
                gone = forgotten or error.status is None
                if error.status is None and 0.7 < wait < 1.0:
                    log.warning("%s is gone; it is waited for, %.0f s at most", self.server.url, limit)
            time.sleep(wait)
            wait = min(2 * wait, 5.0)
            if gone and mend is not None:
                with contextlib.suppress(ServerError):  # not yet there, or no longer: the work says which
                    mend()

    def _give_again(self, given: int) -> None:
        """A server that was started again has the base's weights alone: the first request to notice gives it the step's."""
        with self._lock:
            if self._given == given:
                folder = self.folder.absolute() / f"{self._stem}-{self._number:09d}"
                (self._load if self.model.adapted else self._reload)(folder)
                self._given += 1

    def _ask(self, body: dict[str, Any]) -> tuple[list[int], list[float], bool]:
        given = self._given
        reply = self._patiently(
            lambda: self.server.post("v1/completions", body), mend=lambda: self._give_again(given)
        )
        try:
            (choice,) = reply["choices"]
            ids, log_probs = (
                list(choice["token_ids"]),
                [float(each) for each in choice["logprobs"]["token_logprobs"]],
            )
        except (KeyError, TypeError, ValueError):
            raise CounterpointError(
                f"{self.server.url} gave no token ids with their log-probabilities; it is to be vLLM of 0.11 or later, started by "
                "counterpoint serve MODEL, or by vllm serve MODEL --logprobs-mode processed_logprobs"
            ) from None
        if len(ids) != len(log_probs):
            raise CounterpointError(
                f"{self.server.url} gave {len(ids)} tokens with {len(log_probs)} log-probabilities"
            )
        return ids, log_probs, choice["finish_reason"] == "stop"


def near(host: str) -> bool:
    """Whether a host is this machine or in its private network.

    >>> near("localhost"), near("10.0.0.7"), near("93.184.216.34")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def root_of(url: str, anywhere: bool) -> str:
    """The server's address without the version; sampling and weights go to loopback and private addresses only, unless told.

    Raises:
        CounterpointError: another address.

    >>> root_of("http://127.0.0.1:8000/v1", anywhere=False)
    'http://127.0.0.1:8000'
    """
    if not near(urlsplit(url).hostname or "") and not anywhere:
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
