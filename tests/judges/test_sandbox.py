"""A program that nobody trusts, attacking: what it may use ends it, and everything outside it stays as it was."""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.judges import sandbox, sandbox_child
from counterpoint.judges.sandbox import Limits, run_program
from counterpoint.judges.unit_tests import UnitTests, run_tests

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation is Linux's")
SHORT = Limits(seconds=2.0)
DENIED = "PermissionError"


def refused(code: str) -> None:
    """The program ends in an error of permission, having written nothing of what it was after."""
    outcome = run_program({"code": code}, SHORT)
    assert DENIED in outcome.why, outcome
    assert outcome.output == ""


def test_a_program_computes_reads_its_input_and_writes() -> None:
    code = "import math, threading\nn = int(input())\nt = threading.Thread(target=lambda: print(math.factorial(n)))\nt.start()\nt.join()"
    outcome = run_program({"code": code, "input": "5"}, SHORT)
    assert (outcome.output, outcome.why, outcome.status) == ("120\n", "", 0)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(1000)",
        "import threading\nthreading.Lock().acquire()\nwhile 1: pass",
        "import signal\nfor n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
        "import sys\nsys.setswitchinterval(1000)\n10 ** 10 ** 8 % 7",
    ],
)
def test_an_endless_program_is_stopped(code: str) -> None:
    began = time.monotonic()
    assert run_program({"code": code}, Limits(seconds=1.0)).stopped == "stopped after 1 seconds"
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "code",
    [
        "rows = []\nwhile True: rows.append('a' * 10**7)",
        "bytearray(2**34)",
        "import array\narray.array('d', [0.0]) * 2**32",
        "rows = ['ab']\nwhile True: rows = [row * 2 for row in rows] * 2",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    ],
)
def test_a_memory_bomb_ends_at_its_limit(code: str) -> None:
    outcome = run_program({"code": code}, Limits(seconds=6.0))
    assert outcome.status != 0
    assert "MemoryError" in outcome.why or "start new thread" in outcome.why or outcome.stopped


def processes() -> int:
    return sum(name.isdigit() for name in os.listdir("/proc"))


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.fork()",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import os\nos.execv('/bin/ls', ['ls', '/'])",
        "import subprocess\nsubprocess.run(['ls'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    ],
)
def test_a_fork_bomb_makes_no_process(code: str) -> None:
    outcome = run_program({"code": code}, SHORT)
    assert outcome.status not in (0, None)
    assert outcome.output == ""
    assert DENIED in outcome.errors or "ModuleNotFoundError" in outcome.errors


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")
    for code in (
        f"print(open({str(secret)!r}).read())",
        "print(open('/etc/passwd').read())",
        "print(open('/proc/self/environ').read())",
        "import os\nprint(os.listdir('/'))",
        f"import os\nprint(os.stat({str(secret)!r}).st_size)",
        f"import io\nprint(io.FileIO({str(secret)!r}).read())",
        "import os\nos.open('.', os.O_RDONLY)",
    ):
        refused(code)


def test_descriptors_of_the_parent_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "open.txt").write_text("hunter2")
    with (tmp_path / "open.txt").open() as held:
        os.set_inheritable(held.fileno(), True)
        code = "import os\nfor n in range(3, 4096):\n    try:\n        print(os.read(n, 100))\n    except OSError:\n        pass"
        assert run_program({"code": code}, SHORT).output == ""


def test_nothing_is_written_or_removed(tmp_path: Path) -> None:
    present = tmp_path / "present.txt"
    present.write_text("as it was")
    for code in (
        f"open({str(tmp_path / 'evil')!r}, 'w')",
        f"open({str(present)!r}, 'a').write('x')",
        f"import os\nos.remove({str(present)!r})",
        f"import os\nos.rename({str(present)!r}, {str(tmp_path / 'moved')!r})",
        f"import os\nos.symlink('/etc', {str(tmp_path / 'link')!r})",
        f"import os\nos.chmod({str(present)!r}, 0)",
        f"import os\nos.mkdir({str(tmp_path / 'folder')!r})",
        f"import os\nos.truncate({str(present)!r}, 0)",
        "open('here', 'w')",
        "open('../evil', 'w')",
        "import os\nos.chdir('..')",
        "import os\nos.mkfifo('../pipe')",
        f"import os\nos.link({str(present)!r}, '../link')",
        "import os\nos.open('..', os.O_TMPFILE | os.O_RDWR)",
        "import os\nos.utime('..')",
        "import os\nos.memfd_create('x')",
    ):
        refused(code)
    assert [each.name for each in tmp_path.iterdir()] == ["present.txt"]
    assert present.read_text() == "as it was"


def test_no_connection_is_made() -> None:
    requests: list[str] = []

    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)

    server = HTTPServer(("127.0.0.1", 0), Open)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for code in (
            f"import _socket\n_socket.socket().connect(('127.0.0.1', {server.server_port}))",
            "import _socket\n_socket.socket(_socket.AF_UNIX)",
            "import _socket\n_socket.socketpair()",
        ):
            outcome = run_program({"code": code}, SHORT)
            assert outcome.status == 1
            assert DENIED in outcome.errors or "ModuleNotFoundError" in outcome.errors
        code = f"import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{server.server_port}/')"
        assert run_program({"code": code}, SHORT).status == 1
    finally:
        server.shutdown()
        server.server_close()
    assert not requests


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_without_end_is_stopped(stream: str) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 4096)"
    outcome = run_program({"code": code}, Limits(seconds=5.0, output=10_000))
    assert outcome.stopped == "stopped after 10000 bytes of output"
    assert len(outcome.output) + len(outcome.errors) <= 20_000


def test_no_other_process_is_signalled_and_no_limit_raised() -> None:
    for code in (
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.killpg(0, 9)",
        "import os\nos.setsid()",
        "import os\nos.setuid(0)",
        "import os\nos.nice(-5)",
        "import ctypes\nctypes.CDLL(None, use_errno=True).unshare(0x10000000) and print('no')\nraise PermissionError",
    ):
        outcome = run_program({"code": code}, SHORT)
        assert DENIED in outcome.errors, (code, outcome)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))"
    assert run_program({"code": limit}, SHORT).status == 1


def test_a_system_call_made_by_hand_is_denied_as_well() -> None:
    """Through ctypes, where that can be had, every forbidden number gives EPERM; x86-64's second numbering too."""
    code = (
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
        "for n in (41, 42, 49, 57, 58, 59, 62, 101, 155, 161, 165, 257, 272, 298, 310, 321, 322, 425, 437, 438, 0x40000000 + 257):\n"
        "    assert c.syscall(n, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, n\nprint('denied')"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86-64")
    assert run_program({"code": code}, SHORT).output == "denied\n"


def test_environment_and_folder_are_empty_and_the_folder_is_gone() -> None:
    os.environ["COUNTERPOINT_TEST_SECRET"] = "hunter2"
    try:
        outcome = run_program({"code": "import os\nprint(dict(os.environ), os.getcwd())"}, SHORT)
    finally:
        del os.environ["COUNTERPOINT_TEST_SECRET"]
    assert "hunter2" not in outcome.output
    assert not Path(outcome.output.split()[-1]).exists()


def test_a_program_that_leaves_or_prints_does_not_pass() -> None:
    tests = "assert add(1, 2) == 3"
    assert run_tests("def add(a, b):\n    return a + b", tests) == (1.0, "")
    for code in (
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "print('[1, 1, \"\"]')\nraise SystemExit",
        "def add(a, b):\n    raise SystemExit",
        "def add(a, b):\n    import os\n    os._exit(0)",
        "import ctypes\nctypes.string_at(0)",
    ):
        share, why = run_tests(code, tests, SHORT)
        assert share == 0.0
        assert why


def test_shares_reasons_and_outputs() -> None:
    tests = (
        "def near(a, b): return abs(a - b) < 1\nassert near(f(1), 1)\nassert f(2) == 5\nassert f('a') == 1"
    )
    share, why = run_tests("def f(x): return x + 0", tests)
    assert share == pytest.approx(1 / 3)
    assert why == "assert f(2) == 5 -> AssertionError"
    pairs = '{"inputs": ["1 2\\n", "3 4\\n"], "outputs": ["3\\n", "8\\n"]}'
    share, why = run_tests("print(sum(map(int, input().split())))", pairs)
    assert share == 0.5
    assert why == "on input '3 4\\n' it wrote '7\\n'"
    for wrong in ("def (", '{"inputs": [1]}'):
        with pytest.raises(CounterpointError, match="these tests"):
            run_tests("", wrong)


def test_the_judge_of_unit_tests_tells_what_failed() -> None:
    problems = [Problem("write add", answer="assert add(1, 2) == 3\nassert add(0, 0) == 0")]
    texts = ["```python\ndef add(a, b):\n    return a + b\n```", "def add(a, b): return 3", "I cannot"]
    answers = [[{"ids": [], "text": text, "ended": True} for text in texts]]
    verdicts = UnitTests()(problems, answers)
    assert verdicts.rewards.tolist() == [[1.0, 0.0, 0.0]]
    assert verdicts.texts[0][:2] == ["all tests passed", "assert add(0, 0) == 0 -> AssertionError"]
    assert UnitTests(partly=True)(problems, answers).rewards.tolist() == [[1.0, 0.5, 0.0]]
    with pytest.raises(CounterpointError, match="the unit tests of 'write add' are missing"):
        UnitTests()([Problem("write add")], answers)


def test_without_isolation_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    child = tmp_path / "child.py"
    source = Path(sandbox_child.__file__).read_text()
    child.write_text(source.replace("library.prctl(seccomp,", "library.prctl(9999,"))
    monkeypatch.setattr(sandbox, "CHILD", child)
    with pytest.raises(
        CounterpointError, match="only run in isolation, and the kernel takes no seccomp filter"
    ):
        run_program({"code": f"open({str(mark)!r}, 'w')"}, SHORT)
    assert not mark.exists()
    child.write_text(
        source.replace(
            "program += [instruction(equal, number, 0, 1)", "program += [instruction(equal, number, 0, 0)"
        )
    )
    with pytest.raises(CounterpointError, match="the seccomp filter does not act"):
        run_program({"code": f"open({str(mark)!r}, 'w')"}, SHORT)
    assert not mark.exists()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CounterpointError, match="needs Linux with seccomp, and this is darwin"):
        run_program({"code": "pass"}, SHORT)
