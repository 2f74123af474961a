"""Sampling from any OpenAI-compatible server (vLLM, llama.cpp, SGLang, a hosted one), with the standard library's HTTP.

Texts come back, and log-probabilities of the sampled tokens where the server gives them. Requests run side by side, the
order of the results is that of the prompts, and each carries a seed of its own where the server takes one.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from counterpoint.conversation import Message, Text, pictures_of, turns
from counterpoint.errors import CounterpointError
from counterpoint.generation.journal import COUNTS, Journal, keys_of
from counterpoint.models.language.language import Prompt

RETRIED = (408, 409, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed a little later."""

SIGNATURES = {"png": b"\x89PNG", "jpeg": b"\xff\xd8", "gif": b"GIF8", "webp": b"RIFF"}
"""How files of pictures begin."""


class ServerError(CounterpointError):
    """A request that a server did not do.

    Attributes:
        status: of HTTP; None where nobody answered. content: what it answered, up to 500 bytes.
    """

    def __init__(self, message: str, status: int | None = None, content: str = "") -> None:
        super().__init__(message)
        self.status, self.content = status, content


@dataclass(frozen=True)
class Reply:
    """A server's completion of one prompt.

    Attributes:
        text: the completion.
        ended: whether it came to an end by itself rather than at ``max_new_tokens``.
        tokens: the tokens' texts, when the server gave log-probabilities.
        log_probs: their log-probabilities.
        usage: tokens of the prompt and of the completion, as the server counted them; 0 where it does not say.
    """

    text: str
    ended: bool
    tokens: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()
    usage: tuple[int, int] = (0, 0)


class Pace:
    """Spaces the requests to each server, whoever sends them, so that no more begin in a minute than it allows."""

    def __init__(self) -> None:
        self._lock, self._next = threading.Lock(), dict[str, float]()

    def wait(self, url: str, per_minute: float) -> None:
        """Sleep until a request may begin."""
        if per_minute <= 0:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next.get(url, now))
            self._next[url] = begin + 60.0 / per_minute
        time.sleep(max(0.0, begin - now))


PACE = Pace()
LONGEST_WAIT = 120.0
"""Seconds that a server may ask to be waited for; a longer wait is cut to this."""


def _retry_after(text: str | None) -> float:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


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
        per_minute: how many requests may begin in a minute; 0 sets no limit.
        prices: of a million prompt tokens and of a million completion tokens, for the journal's cost.
        journal: a file of replies that is read before a request is sent and written after; None keeps none.
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
    per_minute: float = 0.0
    prices: tuple[float, float] = (0.0, 0.0)
    journal: Path | None = None
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
        journal = None if self.journal is None else Journal(self.journal)
        with ThreadPoolExecutor(max_workers=max(1, min(self.at_once, len(bodies)))) as pool:
            sent = pool.map(self._ask, bodies, keys_of(self.url, bodies), repeat(journal))
            return [self._read(reply) for reply in sent]

    def _ask(self, body: dict[str, Any], key: str, journal: Journal | None) -> dict[str, Any]:
        """The reply to one request, from the journal where it is there."""
        if journal is None:
            return self.post("chat/completions", body)
        reply = journal.reply(key)
        if reply is None:
            reply = self.post("chat/completions", body)
            self._read(reply)  # what is no completion is not worth keeping
            tokens = _usage(reply)
            cost = sum(price * count / 1e6 for price, count in zip(self.prices, tokens))
            journal.add(key, self.model, reply, dict(zip(COUNTS, (1, *tokens, cost))))
        return reply

    def _body(self, prompt: Prompt, seed: int | None) -> dict[str, Any]:
        if isinstance(prompt, Text):
            raise CounterpointError(
                "the rows are text that is read as it stands (format=text), and a server puts its own chat template around what "
                "it is sent; sample from the model at hand, or leave format=auto"
            )
        talk = turns(prompt)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_as_sent(message) for message in talk],
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
        """Send one request and return the response's JSON; see ``send``."""
        content = self.send(path, body)
        try:
            return json.loads(content)
        except ValueError:
            raise self._failed(
                path, "the answer is not JSON", None, content.decode(errors="replace")[:500]
            ) from None

    def send(self, path: str, body: dict[str, Any] | None) -> bytes:
        """Send one request and return what was answered; passing failures are tried again, waiting longer each time.

        Args:
            body: sent as JSON by POST; None asks by GET.

        Raises:
            ServerError: nobody answered, or the server refuses.
        """
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.key}"} if self.key else {}
        )
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            method="GET" if body is None else "POST",
        )
        problem, wait = "", 0.0
        status: int | None = None
        content = ""
        for number in range(self.tries):
            if number:
                time.sleep(max(wait, min(0.1 * 4**number, 30.0)))
            PACE.wait(self.url, self.per_minute)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return answer.read()  # type: ignore[no-any-return]
            except urllib.error.HTTPError as error:
                status, content = error.code, error.read(500).decode(errors="replace").strip()
                problem = f"status {status}: {content}"
                wait = _retry_after(error.headers.get("Retry-After"))
                if error.code not in RETRIED:
                    break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                problem, status, content = str(getattr(error, "reason", error)), None, ""
        raise self._failed(path, problem, status, content)

    def _failed(self, path: str, problem: str, status: int | None, content: str) -> ServerError:
        return ServerError(
            f"{self.url} did not answer {path} for model '{self.model}' ({problem}); "
            "check that the server runs there and serves a model of that name",
            status,
            content,
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
            usage=_usage(answer),
        )


def _as_sent(message: Message) -> Message:
    """A message as the protocol has it: pictures as data URIs in parts of the type ``image_url``."""
    if not pictures_of([message]):
        return message
    parts = [
        {"type": "image_url", "image_url": {"url": _data_uri(part["image"])}}
        if part["type"] == "image"
        else part
        for part in message["content"]
    ]
    return {**message, "content": parts}


def _data_uri(source: str) -> str:
    """A picture from a file's path or a data URI, with the type that its first bytes say."""
    content = (
        base64.b64decode(source.partition(",")[2])
        if source.startswith("data:")
        else Path(source).read_bytes()
    )
    kind = next((name for name, start in SIGNATURES.items() if content.startswith(start)), "png")
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def _usage(reply: dict[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and completion that a server says it used."""
    usage = reply.get("usage") or {}
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
