"""Captions beside images: every container, whose caption is whose, one caption on one side, and lessons."""

import json
from pathlib import Path

import numpy as np
import pytest

from counterpoint.data.images.load import load_images
from counterpoint.errors import CounterpointError

PIL = pytest.importorskip("PIL.Image")
COUNT = 40


def write_images(folder, nested=True):
    """Images whose first pixel says which they are; names within the folder."""
    names = []
    for row in range(COUNT):
        pixels = np.random.default_rng(row).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        pixels[0, 0] = row
        name = f"{('cat', 'dog')[row % 2]}/{row:02d}.png" if nested else f"{row:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.fromarray(pixels).save(folder / name)
        names.append(name)
    return names


def write_captions(file, rows, columns=("file", "caption")):
    if file.suffix == ".jsonl":
        file.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    else:
        mark = "\t" if file.suffix == ".tsv" else ","
        file.write_text("\n".join(mark.join(row) for row in [columns, *rows]))


def told(images):
    """Which image has which captions, over all splits."""
    return {
        int(part.pixels[row, 0, 0, 0]): part.captions[row]
        for part in images.splits().values()
        for row in range(len(part))
    }


@pytest.fixture
def folder(tmp_path):
    names = write_images(tmp_path / "photos")
    write_captions(
        tmp_path / "photos" / "captions.csv",
        [(n, f"number {i}") for i, n in reversed(list(enumerate(names)))],
    )
    return tmp_path / "photos"


EXPECTED = {row: (f"number {row}",) for row in range(COUNT)}


def test_a_file_among_the_images_is_found_and_every_image_keeps_its_own(folder):
    images = load_images(folder, limit=20)
    assert len(images.train) == 20
    seen = told(images)
    assert len(seen) > 20
    assert seen == {row: EXPECTED[row] for row in seen}
    assert any("every image has a caption, such as 'number" in line for line in images.describe())
    assert told(load_images(folder)) == EXPECTED


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_file_elsewhere(tmp_path, form, bare):
    names = write_images(tmp_path / "photos")
    file = tmp_path / f"said.{form}"
    write_captions(
        file, [(n.split("/")[1] if bare else n, f"number {i}") for i, n in enumerate(names)], ("img", "words")
    )
    assert told(load_images(tmp_path / "photos", captions=str(file), caption="words")) == EXPECTED
    assert load_images(tmp_path / "photos").train.captions is None


def test_a_column_of_a_table_of_images(tmp_path):
    names = write_images(tmp_path, nested=False)
    rows = [(name, f"number {i}", "ab"[i % 2]) for i, name in enumerate(names)]
    write_captions(tmp_path / "metadata.jsonl", rows, ("file_name", "caption", "label"))
    images = load_images(tmp_path)
    assert told(images) == EXPECTED
    assert images.classes == ("a", "b")
    write_captions(tmp_path / "metadata.jsonl", rows, ("file_name", "words", "label"))
    assert load_images(tmp_path).train.captions is None
    assert told(load_images(tmp_path, caption="words")) == EXPECTED
    with pytest.raises(CounterpointError, match="no column 'wrods' of captions"):
        load_images(tmp_path, caption="wrods")


def test_captions_can_be_left_out_and_make_other_data(folder):
    plain, captioned = load_images(folder, captions="none"), load_images(folder)
    assert plain.train.captions is None
    other = load_images(folder, text_encoder="bert-tiny")
    assert len({found.fingerprint() for found in (plain, captioned, other)}) == 3
    file = folder / "captions.csv"
    file.write_text(file.read_text().replace("number 7\n", "number seven\n"))
    assert load_images(folder).fingerprint() != captioned.fingerprint()


def test_several_captions_of_one_image(folder):
    file = folder / "captions.csv"
    file.write_text(file.read_text() + "\ncat/04.png,a second one")
    assert told(load_images(folder))[4] == ("number 4", "a second one")


def test_images_of_one_caption_stay_on_one_side(folder):
    """Ten captions four times each, whatever capitals and blanks they are written with."""
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))
    spelt = ["kind {}", "Kind  {}", " kind {} ", "KIND {}"]
    write_captions(
        folder / "captions.csv", [(n, spelt[i // 10].format(i % 10)) for i, n in enumerate(sorted(names))]
    )
    for seed in range(3):
        images = load_images(folder, seed=seed)
        kinds = [{c.casefold() for (c,) in part.captions} for part in images.splits().values()]
        assert sum(map(len, kinds)) == len(set.union(*kinds)) == 10


def test_a_caption_on_two_sides_by_the_files_own_splits_is_said(tmp_path):
    names = write_images(tmp_path, nested=False)
    rows = [(n, f"kind {i % 9}", ["train", "validation", "test"][i % 3]) for i, n in enumerate(names)]
    rows[0] = (names[0], "kind 1", "train")
    write_captions(tmp_path / "metadata.csv", rows, ("file_name", "caption", "split"))
    lines = load_images(tmp_path).describe()
    count = sum(i % 9 == 1 for i in range(COUNT))
    assert any(f"{count} validation and 0 test images have a caption of train" in line for line in lines)


def test_captions_of_images_left_out_are_left_out(folder):
    (folder / "cat" / "04.png").write_bytes(b"no image")
    images = load_images(folder, unreadable="skip")
    assert told(images) == {row: said for row, said in EXPECTED.items() if row != 4}


def change(folder, kind):
    file = folder / "captions.csv"
    text = file.read_text()
    if kind == "no image":
        file.write_text(text + "\ndog/1.png,a dog")
    elif kind == "nothing alike":
        file.write_text(text + "\nzzzzzzzzz,a dog")
    elif kind == "no caption":
        file.write_text(
            "\n".join(line for line in text.splitlines() if "/04" not in line and "/07" not in line)
        )
    elif kind == "empty":
        file.write_text(text.replace("number 7\n", "  \n"))
    elif kind == "columns":
        file.write_text(text.replace("file,caption", "photo,words"))
    elif kind == "comma":
        file.write_text(text.replace("number 7\n", "number 7, seven\n"))
    elif kind == "ambiguous":
        PIL.open(folder / "cat" / "04.png").save(folder / "dog" / "04.png")
        file.write_text(text.replace("cat/04.png", "04.png"))
    elif kind == "two":
        (folder / "captions.tsv").write_text("file\tcaption\n")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no image", r"captions.csv, row 41: there is no image 'dog/1.png'; did you mean '.*1\.png'\?"),
        ("nothing alike", r"there is no image 'zzzzzzzzz'; they are called like 'cat/00.png'"),
        ("no caption", r"2 of 40 images have no caption: cat/04.png, dog/07.png; add rows"),
        ("empty", r"row 33 \(dog/07.png\): empty caption; .*captions=none"),
        ("columns", r"columns \['photo', 'words'\], none of them file or file_name.*image=COLUMN"),
        ("comma", r"row 33: more fields than columns.*double quotes"),
        (
            "ambiguous",
            r"several images are called '04.png'; give the path below the folder, such as 'cat/04.png'",
        ),
        ("two", r"captions.csv and captions.tsv; keep one"),
    ],
)
def test_lessons(folder, kind, says):
    change(folder, kind)
    with pytest.raises(CounterpointError, match=says):
        load_images(folder)


def test_lessons_of_options(folder, tmp_path):
    with pytest.raises(CounterpointError, match=r"captions=nowhere\.csv: no such file"):
        load_images(folder, captions="nowhere.csv")
    with pytest.raises(CounterpointError, match="give captions, or vectors"):
        load_images(folder, captions=str(folder / "captions.csv"), partners="x.npy")
    np.savez(tmp_path / "x.npz", images=np.zeros((20, 4, 4)), labels=np.arange(20) % 2)
    with pytest.raises(CounterpointError, match=r"names image files.*partners=captions\.npy"):
        load_images(tmp_path / "x.npz", captions=str(folder / "captions.csv"))


def test_captions_that_images_share_are_said(tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for n in range(40):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(
            tmp_path / "photos" / f"{n}.png"
        )
    for texts, shared in ((lambda n: f"text {n}", False), (lambda n: f"Text {n // 2}", True)):
        rows = "".join(f"{n}.png,{texts(n)}\n" for n in range(40))
        (tmp_path / "photos" / "captions.csv").write_text("file,caption\n" + rows)
        lines = load_images(tmp_path / "photos").describe()
        assert any("share a caption with another; where such pairs meet" in line for line in lines) is shared
    for rows, shared in ((40, False), (4, True)):
        (tmp_path / "photos" / "captions.csv").unlink(missing_ok=True)
        np.save(tmp_path / "vectors.npy", np.eye(40, dtype=np.float32)[np.arange(40) % rows])
        lines = load_images(tmp_path / "photos", partners=str(tmp_path / "vectors.npy")).describe()
        assert any("different partners; where equal ones meet" in line for line in lines) is shared
