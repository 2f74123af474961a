"""Any OpenAI-compatible server, here a small one on this machine: order, retries, refusals, log-probabilities."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.generation.server import Server


class Fake(BaseHTTPRequestHandler):
    seen: list[dict[str, Any]]
    failures: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})  # type: ignore[attr-defined]
        failures: list[int] = self.server.failures  # type: ignore[attr-defined]
        if failures:
            return self._send(failures.pop(), {"error": "busy"})
        if body["model"] == "unknown":
            return self._send(404, {"error": "no such model"})
        said = body["messages"][-1]["content"].upper()
        choice: dict[str, Any] = {
            "message": {"content": said},
            "finish_reason": "stop" if len(said) < 9 else "length",
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": each, "logprob": -0.5} for each in said]}
        self._send(200, {"choices": [choice]} if body["model"] != "odd" else {"object": "list"})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.seen, server.failures = [], []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(fake: Any) -> str:
    return f"http://127.0.0.1:{fake.server_port}/v1"


def test_replies_come_in_the_order_asked(fake: Any) -> None:
    server = Server(url(fake), "m", max_new_tokens=5, temperature=0.3, log_probs=True, key="secret")
    replies = server(
        [f"word {n}" for n in range(20)] + [[{"role": "user", "content": "a longer one"}]], seed=7
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
