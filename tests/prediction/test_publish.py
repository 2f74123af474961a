"""Models on a hub: a local server that speaks the hub's protocol takes what is uploaded; what must not go there does not."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load as tensors
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.prediction import publish

NAME = "me/mail-topics"


class Hub(HTTPServer):
    """What a hub is asked for an upload; every file is taken in the commit itself."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *given: object) -> None:
        pass

    def reply(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_GET(self) -> None:
        self.reply(
            {"type": "user", "name": "me", "orgs": []} if "whoami" in self.path else {"error": "none"},
            200 if "whoami" in self.path else 404,
        )

    def do_POST(self) -> None:
        body = self.body()
        if self.server.refuses:
            self.reply({"error": "you may not write here"}, 403)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.reply(
                {"url": f"http://127.0.0.1:{self.server.server_port}/{NAME}", "name": NAME, "id": NAME}
            )
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.reply(
                {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]}
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply(
                {
                    "success": True,
                    "commitOid": "1" * 40,
                    "commitUrl": f"http://127.0.0.1/{NAME}/commit/{'1' * 40}",
                }
            )
        else:
            self.reply({})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private folder")
    rows = [("the kettle is warm", "tea"), ("a storm at sea", "weather")] * 10
    (folder / "mails.csv").write_text(
        "text,label\n" + "".join(f"{text} {n},{label}\n" for n, (text, label) in enumerate(rows))
    )
    counterpoint.run(
        "text-classifier", data=str(folder / "mails.csv"), model="words", steps=2, settings={"batch_size": 4},
        out=folder / "run", progress=False,
    )  # fmt: skip
    return folder / "run"


def test_what_is_prepared_opens_and_names_no_folder_of_this_machine(trained: Path, tmp_path: Path) -> None:
    made = counterpoint.push(trained, NAME, folder=tmp_path / "look")
    card = (tmp_path / "look" / "README.md").read_text()
    assert str(trained.parent) not in card
    assert f'counterpoint.load("{NAME}")' in card
    assert f"counterpoint predict {NAME} --data" in card
    assert "`mails.csv`" in card
    assert str(trained.parent) in (trained / "model" / "README.md").read_text()  # the run's own is as it was
    assert made.files.keys() == {
        file.relative_to(tmp_path / "look").as_posix()
        for file in (tmp_path / "look").rglob("*")
        if file.is_file()
    }
    texts = ["the kettle", "a storm"]
    assert counterpoint.load(tmp_path / "look").predict(texts) == counterpoint.load(
        trained / "model"
    ).predict(texts)
    with pytest.raises(CounterpointError, match="exists; give a folder that does not"):
        counterpoint.push(trained, NAME, folder=tmp_path / "look")


def test_it_is_uploaded_as_it_was_prepared(trained: Path, tmp_path: Path, hub: Hub) -> None:
    counterpoint.push(trained, NAME, folder=tmp_path / "look")
    done = CliRunner().invoke(app, ["push", str(trained), NAME, "--private", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["url"].endswith("commit/" + "1" * 40)
    assert [(repo.get("name"), repo.get("private") or repo.get("visibility")) for repo in hub.created] in (
        [("mail-topics", True)], [("mail-topics", "private")]
    )  # fmt: skip
    look = {
        file.relative_to(tmp_path / "look").as_posix(): file.read_bytes()
        for file in (tmp_path / "look").rglob("*")
        if file.is_file()
    }
    assert hub.files == look
    assert tensors(hub.files["model.safetensors"])


def test_a_run_is_uploaded_at_its_end(trained: Path, hub: Hub) -> None:
    again = [
        "run",
        "text-classifier",
        "--data",
        str(trained.parent / "mails.csv"),
        "--model",
        "words",
        "--steps",
        "2",
        "--batch-size",
        "4",
    ]
    done = CliRunner().invoke(app, [*again, "--out", str(trained), "--push-to-hub", NAME])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "README.md" in hub.files
    hub.refuses = True
    done = CliRunner().invoke(app, [*again, "--out", str(trained), "--push-to-hub", NAME])
    assert done.exit_code == 2
    assert "is whole in" in done.stderr
    assert "hf auth login" in done.stderr


def test_without_a_login_nothing_is_trained(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for token, said in (("", "nobody is logged in"), ("hf_some", "the hub did not take a login")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(CounterpointError, match=said):
            counterpoint.run(
                "text-classifier",
                data=str(trained.parent / "mails.csv"),
                out=tmp_path / "new",
                steps=1,
                push_to_hub=NAME,
            )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "weights.pt").write_bytes(b""), "is no part of an ordinary model folder"),
        (lambda folder: (folder / "README.md").unlink(), "has no model card"),
    ],
)
def test_what_must_not_go_there(trained: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    import shutil

    shutil.copytree(trained / "model", tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(CounterpointError, match=message):
        counterpoint.push(tmp_path / "model", NAME, folder=tmp_path / "look")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("name", ["mail-topics", "me/mail topics", "a/b/c", "me/x@v1"])
def test_names_are_checked(name: str, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="expected OWNER/NAME"):
        counterpoint.push(trained, name, folder=tmp_path / "look")


def test_an_adapter_of_a_local_model_is_noted(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/somewhere/model"}))
    [note] = publish._notes(tmp_path)
    assert "others cannot open it" in note
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/model"}))
    assert publish._notes(tmp_path) == ()
