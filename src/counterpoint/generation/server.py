"""Sampling from any OpenAI-compatible server (vLLM, llama.cpp, SGLang, a hosted one), with the standard library's HTTP.

Texts come back, and log-probabilities of the sampled tokens where the server gives them. Requests run side by side, the
order of the results is that of the prompts, and each carries a seed of its own where the server takes one.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from counterpoint.conversation import Text, turns
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Prompt

RETRIED = (408, 409, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed a little later."""


@dataclass(frozen=True)
class Reply:
    """A server's completion of one prompt.

    Attributes:
        text: the completion.
        ended: whether it came to an end by itself rather than at ``max_new_tokens``.
        tokens: the tokens' texts, when the server gave log-probabilities.
        log_probs: their log-probabilities.
    """

    text: str
    ended: bool
    tokens: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server; call it with prompts.

    Attributes:
        url: up to the version, such as "http://localhost:8000/v1".
        model: the name the server knows the model by.
        max_new_tokens, temperature, top_p: of sampling; temperature 0 is greedy.
        log_probs: ask for the log-probabilities of the sampled tokens.
        stop: texts that end a completion.
        timeout: seconds one request may take.
        tries: how often a request that failed for a passing reason is sent.
        at_once: requests under way at a time.
        key: sent as a bearer token; by default what the environment variable OPENAI_API_KEY holds.
    """

    url: str
    model: str
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    log_probs: bool = False
    stop: tuple[str, ...] = ()
    timeout: float = 120.0
    tries: int = 5
    at_once: int = 8
    key: str = field(default_factory=lambda: os.environ.get("OPENAI_API_KEY", ""), repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise CounterpointError(f"url={self.url!r}; expected an address such as http://localhost:8000/v1")

    def __call__(self, prompts: Sequence[Prompt], *, seeds: Sequence[int] | None = None) -> list[Reply]:
        """Complete every prompt once.

        Args:
            prompts: texts (one user turn each) or conversations.
            seeds: one a request; None sends none.

        Raises:
            CounterpointError: the server cannot be reached, refuses, or answers something else than a completion.
        """
        own = [None] * len(prompts) if seeds is None else list(seeds)
        bodies = [self._body(prompt, seed) for prompt, seed in zip(prompts, own, strict=True)]
        with ThreadPoolExecutor(max_workers=max(1, min(self.at_once, len(bodies)))) as pool:
            return [
                self._read(reply)
                for reply in pool.map(lambda body: self.post("chat/completions", body), bodies)
            ]

    def _body(self, prompt: Prompt, seed: int | None) -> dict[str, Any]:
        if isinstance(prompt, Text):
            raise CounterpointError(
                "the rows are text that is read as it stands (format=text), and a server puts its own chat template around what "
                "it is sent; sample from the model at hand, or leave format=auto"
            )
        talk = turns(prompt)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(talk),
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        if talk.tools:
            body["tools"] = talk.tools
        if talk.options:
            body["chat_template_kwargs"] = talk.options
        if self.log_probs:
            body["logprobs"] = True
        if self.stop:
            body["stop"] = list(self.stop)
        if seed is not None:
            body["seed"] = seed
        return body

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the response's JSON; passing failures are tried again, waiting longer each time."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.key}"} if self.key else {}
        )
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/{path}", data=json.dumps(body).encode(), headers=headers, method="POST"
        )
        problem = ""
        for number in range(self.tries):
            if number:
                time.sleep(min(0.1 * 4**number, 30.0))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}: {error.read(500).decode(errors='replace').strip()}"
                if error.code not in RETRIED:
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                problem = str(getattr(error, "reason", error))
            except json.JSONDecodeError:
                problem = "the answer is not JSON"
                break
        raise CounterpointError(
            f"{self.url} did not answer {path} for model '{self.model}' ({problem}); "
            "check that the server runs there and serves a model of that name"
        )

    def _read(self, answer: dict[str, Any]) -> Reply:
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            raise CounterpointError(
                f"{self.url} answered something else than a chat completion: {json.dumps(answer)[:200]}"
            ) from None
        given = (choice.get("logprobs") or {}).get("content") or []
        if self.log_probs and not given:
            raise CounterpointError(
                f"{self.url} gave no log-probabilities; set log_probs=False or use another server"
            )
        return Reply(
            text=text,
            ended=choice.get("finish_reason") == "stop",
            tokens=tuple(each["token"] for each in given),
            log_probs=tuple(float(each["logprob"]) for each in given),
        )
