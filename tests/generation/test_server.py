"""Any OpenAI-compatible server, here a small one on this machine: order, retries, refusals, log-probabilities."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_server import serving, url

from counterpoint.errors import CounterpointError
from counterpoint.generation.server import Server


@pytest.fixture
def fake() -> Iterator[Any]:
    with serving() as server:
        yield server


def test_replies_come_in_the_order_asked(fake: Any) -> None:
    server = Server(url(fake), "m", max_new_tokens=5, temperature=0.3, log_probs=True, key="secret")
    replies = server(
        [f"word {n}" for n in range(20)] + [[{"role": "user", "content": "a longer one"}]], seeds=range(7, 28)
    )
    assert [reply.text for reply in replies] == [f"WORD {n}" for n in range(20)] + ["A LONGER ONE"]
    assert replies[0].ended
    assert not replies[-1].ended
    assert replies[0].log_probs == (-0.5,) * 6
    assert "".join(replies[0].tokens) == "WORD 0"
    assert {body["seed"] for body in fake.seen} == set(range(7, 28))
    assert fake.seen[0]["path"] == "/v1/chat/completions"
    assert fake.seen[0]["key"] == "Bearer secret"
    assert fake.seen[0]["max_tokens"] == 5
    assert fake.seen[0]["temperature"] == 0.3
    assert "secret" not in repr(server)


def test_a_passing_failure_is_tried_again(fake: Any) -> None:
    fake.failures[:] = [503, 429]
    assert Server(url(fake), "m", at_once=1)(["a"])[0].text == "A"
    assert len(fake.seen) == 3


def test_a_refusal_is_told_and_not_repeated(fake: Any) -> None:
    with pytest.raises(CounterpointError, match=r"status 404.*no such model"):
        Server(url(fake), "unknown")(["a"])
    assert len(fake.seen) == 1
    with pytest.raises(CounterpointError, match="something else than a chat completion"):
        Server(url(fake), "odd")(["a"])


def test_nobody_there_and_no_address() -> None:
    with pytest.raises(CounterpointError, match="check that the server runs"):
        Server("http://127.0.0.1:9/v1", "m", tries=1)(["a"])
    with pytest.raises(CounterpointError, match="expected an address"):
        Server("localhost:8000", "m")
