"""What of vLLM's server the engine asks, on this machine: it samples from the weights it was last given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.models.language.language import Language, load
from counterpoint.models.tokens import pad


class State:
    """A server's models by name, and what it was asked.

    Attributes:
        deaf: whether it says yes to new weights and keeps the old ones. bare: what it leaves out of its answers: "token_ids", all
            "logprobs", or their "values". fixed: whether it knows no requests that change weights.
    """

    def __init__(self, base: Language) -> None:
        self.base, self.models, self.paths = base, {"base": base}, list[str]()
        self.deaf = self.fixed = False
        self.bare = ""
        self.lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.paths.append(path)
        if self.fixed and path != "/v1/completions":
            return 404, {"detail": "Not Found"}
        if path == "/v1/load_lora_adapter":
            if body["lora_name"] in self.models:
                return 400, {"error": "the name is taken"}
            self.models[body["lora_name"]] = self.base if self.deaf else load(body["lora_path"])
        elif path == "/v1/unload_lora_adapter":
            del self.models[body["lora_name"]]
        elif path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            if not self.deaf:
                self.models["base"] = load(body["kwargs"]["weights_path"])
        elif path == "/v1/completions":
            return self.complete(body)
        return 200, {}

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        model = self.models.get(body["model"])
        if model is None:
            return 404, {"error": f"the model {body['model']} does not exist"}
        how = Sampler(max_new_tokens=body["max_tokens"], temperature=body["temperature"])
        prompt = pad([body["prompt"]], side="left", fill=model.pad_id)
        sampled = how(model.eval(), prompt, row_draws(body["seed"], [0], how.max_new_tokens))
        (ids,) = sampled.rows()
        choice = {
            "token_ids": ids, "finish_reason": "stop" if bool(sampled.ended[0]) else "length",
            "logprobs": {"token_logprobs": sampled.log_probs[0, : len(ids)].tolist()},
        }  # fmt: skip
        if self.bare == "token_ids":
            del choice["token_ids"]
        elif self.bare == "logprobs":
            choice["logprobs"] = None
        elif self.bare == "values":
            choice["logprobs"] = {"token_logprobs": [None] * len(ids)}
        return 200, {"choices": [choice]}


class Fake(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        state: State = self.server.state  # type: ignore[attr-defined]
        with state.lock:
            status, content = state.answer(self.path.partition("?")[0], body)
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, State]]:
    """An address, and the state of a server of the model in a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.state = State(load(folder))  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.state  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
