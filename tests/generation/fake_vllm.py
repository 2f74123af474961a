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
    """A server's models by name, and what it was asked. Words and statuses are those of vLLM 0.32.

    Attributes:
        deaf: whether it says yes to new weights and keeps the old ones. bare: what it leaves out of its answers: "token_ids", all
            "logprobs", or their "values". fixed: whether it knows no requests that change weights. processor: it runs on.
        hung_up: how many requests it breaks off before it answers again, with the base alone.
    """

    def __init__(self, base: Language, processor: str = "cuda") -> None:
        self.base, self.models, self.paths = base, {"base": base}, list[str]()
        self.deaf = self.fixed = False
        self.bare, self.processor, self.hung_up = "", processor, 0
        self.lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        self.paths.append(path)
        if self.fixed and path != "/v1/completions":
            return 404, {"detail": "Not Found"}
        name = str(body.get("lora_name"))
        if path == "/v1/load_lora_adapter":
            return self.load(name, Path(body["lora_path"]))
        if path == "/v1/unload_lora_adapter":
            if self.models.pop(name, None) is None:
                return 404, error(f"The lora adapter '{name}' cannot be found.", "NotFoundError", 404)
            return 200, f"Success: LoRA adapter '{name}' removed successfully."
        if path == "/server_info":
            return 200, {"vllm_config": f"model='base', device_config={self.processor}, seed=0"}
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            if not self.deaf:
                self.models["base"] = load(body["kwargs"]["weights_path"])
            return 200, {"results": [None]}
        if path == "/v1/completions":
            return self.complete(body)
        words = {"/pause": {"status": "paused"}, "/resume": {"status": "resumed"}}
        return 200, words.get(path, {"success": True})

    def load(self, name: str, folder: Path) -> tuple[int, dict[str, Any] | str]:
        if name in self.models:
            return 400, error(f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput", 400)
        if not (folder / "adapter_config.json").is_file():
            said = f"Loading lora {name} failed: No adapter found for {folder}"
            return 404, error(said, "NotFoundError", 404)
        self.models[name] = self.base if self.deaf else load(folder)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        model = self.models.get(body["model"])
        if model is None:
            return 404, error(f"The model `{body['model']}` does not exist.", "NotFoundError", 404)
        stop = tuple(body.get("stop", ()))
        how = Sampler(max_new_tokens=body["max_tokens"], temperature=body["temperature"], stop=stop)
        prompt = pad([body["prompt"]], side="left", fill=model.pad_id)
        draws = None if how.greedy else row_draws(body["seed"], [0], how.max_new_tokens)
        sampled = how(model.eval(), prompt, draws)
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


def error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Fake(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        state: State = self.server.state  # type: ignore[attr-defined]
        with state.lock:
            if state.hung_up:
                state.hung_up -= 1
                state.models = {"base": state.base}
                return
            status, content = state.answer(self.path.partition("?")[0], body)
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
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
