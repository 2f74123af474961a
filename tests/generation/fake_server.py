"""A small OpenAI-compatible server on this machine, which answers in capitals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
        content = body["messages"][-1]["content"]
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        said = content.upper()
        choice: dict[str, Any] = {
            "message": {"content": said},
            "finish_reason": "stop" if len(said) < 9 else "length",
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": each, "logprob": -0.5} for each in said]}
        usage = {"prompt_tokens": len(content), "completion_tokens": 2}
        self._send(
            200, {"choices": [choice], "usage": usage} if body["model"] != "odd" else {"object": "list"}
        )

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", self.server.retry_after)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.seen, server.failures, server.retry_after = [], [], "0"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(fake: Any) -> str:
    return f"http://127.0.0.1:{fake.server_port}/v1"
