"""The kind of data is recognised in every encoding that its loader reads, and a stray picture changes nothing."""

from __future__ import annotations

import ast
import importlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from counterpoint import tasks
from counterpoint.errors import CounterpointError
from counterpoint.tasks import descriptions
from counterpoint.tasks.recognise import kind_of
from counterpoint.tasks.task import task

INTERACTIONS = "user\titem\trating\nAnaïs\tb\t4\nc\td\t5\n"
REGRESSION = "age,weight,target\n1,2,3\n4,5,6\n"
TEXT = "text,label\na fine café,good\nbad,bad\n"
PROBLEMS = '{"prompt": "2 + 2?", "answer": "4"}\n{"prompt": "3 + 3?", "answer": "6"}\n'
LONG = '{"prompt": "' + "é" * 100_000 + '", "answer": "4"}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.tsv", INTERACTIONS, "interactions"),
        ("a.csv", REGRESSION, "regression"),
        ("a.csv", TEXT, "text"),
    ],
)
def test_tables_in_every_encoding(tmp_path: Path, encoding: str, name: str, content: str, kind: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert kind_of(str(tmp_path / name)) == kind
    assert kind_of(str(tmp_path)) == kind


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_in_every_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    content = PROBLEMS if name == "a.jsonl" else "[" + PROBLEMS.strip().replace("\n", ",") + "]"
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert kind_of(str(tmp_path / name)) == "problems"


def test_a_first_row_longer_than_any_block(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LONG * 2, encoding="utf-8")
    assert kind_of(str(tmp_path / "a.jsonl")) == "problems"


@pytest.mark.parametrize("stray", ["logo.png", "figures/plot.JPG", "beep.wav"])
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("train.jsonl", PROBLEMS, "problems"), ("a.csv", REGRESSION, "regression"), ("a.csv", TEXT, "text")],
)
def test_one_stray_picture_beside_tables(
    tmp_path: Path, stray: str, name: str, content: str, kind: str
) -> None:
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_bytes(b"x")
    (tmp_path / name).write_text(content)
    assert kind_of(str(tmp_path)) == kind


@pytest.mark.parametrize(
    "table", ["file_name,text\na.png,a cat\n", "file_name,label\na.png,cat\n", "name,note\nx,y\n"]
)
def test_pictures_that_a_table_names_or_that_are_many_are_data(tmp_path: Path, table: str) -> None:
    (tmp_path / "metadata.csv").write_text(table)
    for number in range(1 if "a.png" in table else 20):
        (tmp_path / ("a.png" if not number else f"{number}.png")).write_bytes(b"x")
    assert kind_of(str(tmp_path)) == "images"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", "user_id,film,score\nu1,x,5\n", None),
        ("a.csv", "customer_id,asin,stars\nu1,x,5\n", "interactions"),
        ("a.csv", "rooms,area,price\n3,70,250\n2,50,180\n", None),
        ("a.csv", "x1,x2\n3,70\n2,50\n", None),
        ("a.txt", "the cat\nsat down\n", None),
        ("a.txt", "3 apples\n12 pears\n", None),
        ("a.txt", "It was the best of times\nit was the worst of times\n", None),
        ("a.txt", "u1 i5\nu2 i7\n", "interactions"),
        ("a.txt", "1 20 30 40\n2 5\n", "interactions"),
        ("a.csv", "196,242,3,881250949\n186,302,3,891717742\n", "interactions"),
        ("a.csv", "u1,i1,4.5,1997-12-04T15:55:49\nu2,i1,4,1997-12-05\n", "interactions"),
        ("a.csv", "text,label\nsee www.shop.com.au,spam\nread song.wav,ham\n", "text"),
        ("a.csv", "file,label\nclips/one.AU,yes\nclips/two.au,no\n", "audio"),
        ("a.csv", 'prompt,answer\n"a\nb, c",4\n', "problems"),
        ("a.csv", "image,label\na.jpg,cat\nb.jpg,dog\n", "images"),
        ("a.csv", "Text;Label\na;b\nc;d\n", "text"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "2+2="}]}\n', "problems"),
        ("a.jsonl", '{"conversations": [{"from": "human", "value": "2+2="}]}\n', "problems"),
        ("a.jsonl", '{"instruction": "Add.", "input": "2+2", "output": "4"}\n', "problems"),
        ("a.csv", "input,output\nwhere is it?,there\n", "problems"),
        ("a.csv", "input,output\n1.5,2\n2.5,3\n", None),
        ("a.tsv", "body\tcategory\na\tb\nc\td\n", "text"),
        ("a.json", '{"id": "a", "states": [[1]]}\n{"id": "b", "states": [[2]]}\n', "trajectories"),
    ],
)
def test_columns_decide_and_ordinary_words_are_no_ids(
    tmp_path: Path, name: str, content: str, kind: str | None
) -> None:
    path = tmp_path / name
    path.write_text(content)
    if kind is not None:
        assert kind_of(str(path)) == kind
        return
    with pytest.raises(CounterpointError, match="say it with --kind"):
        kind_of(str(path))


def test_what_is_not_recognised_comes_with_the_options_that_read_it(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("rooms,area,price\n3,70,250\n2,50,?\n")
    with pytest.raises(
        CounterpointError, match="rooms, area, price.*--kind regression --data-option target=price"
    ):
        kind_of(str(tmp_path / "houses.csv"))
    (tmp_path / "films.csv").write_text("user,film\nu1,x\n")
    with pytest.raises(CounterpointError, match="--kind interactions --data-option item=film"):
        kind_of(str(tmp_path / "films.csv"))


@pytest.mark.parametrize("many", [".png", ".wav"])
def test_the_medium_with_more_files_is_the_data(tmp_path: Path, many: str) -> None:
    for number in range(12):
        (tmp_path / f"{number}{many}").write_bytes(b"x")
    (tmp_path / ("cover.png" if many == ".wav" else "beep.wav")).write_bytes(b"x")
    assert kind_of(str(tmp_path)) == {".png": "images", ".wav": "audio"}[many]


@pytest.mark.parametrize("content", [b"\x00\xff" * 99, b'{"a": ', b"[", b"[1, 2]", b'"words"\n' * 3])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.npz", "a.arrow", "a.txt"])
def test_a_damaged_file_is_of_no_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CounterpointError, match=r"a\.\w+(:|,| )") as error:
        kind_of(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_folder_of_the_datasets_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}).save_to_disk(
        tmp_path / "d"
    )
    assert kind_of(str(tmp_path / "d")) == "preferences"


def test_names_and_files_are_recognised_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(REGRESSION)
    program = (
        "import sys\n"
        "from counterpoint.tasks.recognise import kind_of\n"
        "from counterpoint.tasks.task import all_described\n"
        "print(kind_of('digits'), 'pyarrow' in sys.modules)\n"
        f"print(kind_of({str(tmp_path / 'a.csv')!r}), sum(len(one.bundled) for one in all_described()) > 20)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["images", "False", "regression", "True", "False"]


def test_data_list_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from counterpoint.cli.main import app\n"
        "done = CliRunner().invoke(app, ['data', 'list', '--json'])\n"
        "print(done.exit_code, 'fashion-mnist' in done.output, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "False"]


def test_every_kind_is_described_once() -> None:
    folder = Path(descriptions.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "description"}
    assert sorted(descriptions.ORDER) == sorted(name.replace("_", "-") for name in files)
    for kind in descriptions.ORDER:
        assert descriptions.described(kind).kind == kind
        assert descriptions.described(kind).looks
        assert task(kind).kind == kind


@pytest.mark.parametrize(
    ("kind", "module"),
    [(kind, f"counterpoint.data.{kind}.{file}") for kind, file in
     {"images": "load", "audio": "load", "interactions": "load", "text": "sets", "regression": "sets"}.items()],
)  # fmt: skip
def test_what_is_described_is_what_the_loader_takes(kind: str, module: str) -> None:
    assert set(descriptions.described(kind).bundled) == set(importlib.import_module(module).BUNDLED)


def test_nothing_outside_asks_which_kind_it_is() -> None:
    package = Path(tasks.__file__).parents[1]
    own = ("tasks", "data", "models", "bundled")
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in own:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Compare)
                and getattr(node.left, "attr", getattr(node.left, "id", "")) == "kind"
            ):
                named = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not named & set(descriptions.ORDER), (
                    f"{path}:{node.lineno}: what differs is for tasks/KIND.py to say"
                )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.csv.gz", "is compressed; unpack it .gunzip"),
        ("a.zip", "is an archive"),
        ("a.XLSX", "is a spreadsheet; save it as CSV"),
        ("a.tgz", "tar -xf"),
    ],
)
def test_what_is_wrapped_says_so(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"PK\3\4 and more")
    with pytest.raises(CounterpointError, match=message):
        kind_of(str(tmp_path / name))


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(CounterpointError, match="a.csv is empty"):
        kind_of(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(("name", "kind"), [("0001.jpg", "images"), ("0001.json", None)])
def test_a_shard_of_pictures_is_images_and_another_archive_is_to_be_unpacked(
    tmp_path: Path, name: str, kind: str | None
) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as shard:
        for member in ("0001.cls", name):
            about = tarfile.TarInfo(member)
            about.size = 1
            shard.addfile(about, io.BytesIO(b"1"))
    if kind is None:
        with pytest.raises(CounterpointError, match="is an archive; unpack it"):
            kind_of(str(tmp_path / "00000.tar"))
        return
    assert kind_of(str(tmp_path / "00000.tar")) == kind
    assert kind_of(str(tmp_path)) == kind


def test_options_that_one_kind_alone_has_say_the_kind(tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("Kunde;Artikel\nk1;a1\nk2;a2\n")
    assert kind_of(str(table), {"user": "Kunde", "item": "Artikel"}) == "interactions"
    for options, able in (
        ({"text": "Kunde", "label": "Artikel"}, "one of audio, text"),
        ({"no-such": "a"}, "one of audio, captioned"),
    ):
        with pytest.raises(CounterpointError, match=f"say it with --kind, {able}"):
            kind_of(str(table), options)
