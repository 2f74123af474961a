"""Any OpenAI-compatible server, here a small one on this machine: order, retries, refusals, log-probabilities."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_server import serving, url

from counterpoint.errors import CounterpointError
from counterpoint.generation.journal import FILE, used
from counterpoint.generation.server import LONGEST_WAIT, Server, _retry_after


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


def test_a_server_that_says_when_is_waited_for(fake: Any) -> None:
    fake.retry_after = "0.7"
    fake.failures[:] = [429]
    began = time.monotonic()
    assert Server(url(fake), "m")(["a"])[0].text == "A"
    assert 0.7 <= time.monotonic() - began < 5
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0  # long past
    assert _retry_after("1e9") == LONGEST_WAIT
    assert _retry_after("soon") == _retry_after(None) == 0.0


def test_no_more_requests_begin_than_a_minute_allows(fake: Any) -> None:
    server = Server(url(fake), "m", per_minute=600, at_once=8)
    began = time.monotonic()
    server([str(n) for n in range(6)])
    assert time.monotonic() - began >= 0.5  # a tenth of a second apart
    assert len(fake.seen) == 6


def test_a_journal_answers_what_was_answered_and_counts(fake: Any, tmp_path: Path) -> None:
    server = Server(url(fake), "m", journal=tmp_path / FILE, prices=(1e6, 2e6), at_once=1)
    texts = [reply.text for reply in server(["a", "bb", "a"], seeds=[1, 2, 1])]
    assert texts == ["A", "BB", "A"]
    assert len(fake.seen) == 3  # equal requests of one call are requests of their own
    assert used(tmp_path / FILE) == {
        "requests": 3, "prompt_tokens": 4, "completion_tokens": 6, "cost": 4 * 1 + 6 * 2,
    }  # fmt: skip
    again = Server(url(fake), "m", journal=tmp_path / FILE, prices=(1e6, 2e6), at_once=1)
    assert [reply.text for reply in again(["a", "bb", "a", "c"], seeds=[1, 2, 1, 3])] == ["A", "BB", "A", "C"]
    assert len(fake.seen) == 4
    again(["a"], seeds=[9])  # another seed is another request
    assert len(fake.seen) == 5


def test_a_call_that_was_broken_off_goes_on_where_it_was(fake: Any, tmp_path: Path) -> None:
    server = Server(url(fake), "m", journal=tmp_path / FILE, at_once=1, tries=1)
    fake.failures[:] = [400]
    prompts = [f"p{n}" for n in range(6)]
    with pytest.raises(CounterpointError, match="status 400"):
        server(prompts)
    done = used(tmp_path / FILE).get("requests", 0)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"key": "torn')  # a line that a kill cut
    before = len(fake.seen)
    assert [reply.text for reply in server(prompts)] == [prompt.upper() for prompt in prompts]
    assert len(fake.seen) - before == 6 - done
    assert used(tmp_path / FILE)["requests"] == 6
    assert all("secret" not in line for line in (tmp_path / FILE).read_text().splitlines())


def test_pictures_are_sent_as_data_uris(fake: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (2, 2), (9, 8, 7)).save(tmp_path / "a.jpg")
    held = base64.b64encode((tmp_path / "a.jpg").read_bytes()).decode()
    for source in (str(tmp_path / "a.jpg"), f"data:image/*;base64,{held}"):
        picture = {"type": "image", "image": source, "sha256": "0"}
        parts = [{"type": "text", "text": "what "}, picture, {"type": "text", "text": "is it?"}]
        talk = [{"role": "system", "content": "short"}, {"role": "user", "content": parts}]
        (reply,) = Server(url(fake), "m")([talk])
        assert reply.text == "WHAT IS IT?"
        sent = fake.seen[-1]["messages"]
        assert sent[0] == {"role": "system", "content": "short"}
        uri = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{held}"}}
        assert sent[1]["content"] == [parts[0], uri, parts[2]]
