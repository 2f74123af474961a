"""Images from every container, splits that do not leak, and lessons for what cannot be used."""

import gzip
import json
import struct

import numpy as np
import pytest
import torch

from counterpoint.data.images.load import load_images, overlap
from counterpoint.errors import CounterpointError

PIL = pytest.importorskip("PIL.Image")


def blobs(
    number: int = 60, side: int = 8, classes: int = 3, channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(number) % classes
    images = generator.integers(0, 256, (number, side, side, channels), dtype=np.uint8)
    return images, labels


def write_folder(root, images, names, suffix=".png"):
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        file = root / name / f"{row:03d}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.fromarray(image.squeeze()).save(file)


def same_images(found, images) -> bool:
    both = torch.cat([part.pixels for part in found.splits().values()])
    return {row.numpy().tobytes() for row in both} == {row.transpose(2, 0, 1).tobytes() for row in images}


def test_class_folders(tmp_path):
    images, _ = blobs(channels=3)
    write_folder(tmp_path, images, ["cat", "dog", "owl"] * 20)
    found = load_images(tmp_path)
    assert found.classes == ("cat", "dog", "owl")
    assert found.shape == (3, 8, 8)
    assert [len(part) for part in found.splits().values()] == [42, 6, 12]
    assert torch.bincount(found.test.labels).tolist() == [4, 4, 4]
    assert same_images(found, images)
    assert (
        found.fingerprint()
        == load_images(tmp_path).fingerprint()
        != load_images(tmp_path, seed=1).fingerprint()
    )


def test_split_folders_are_kept(tmp_path):
    images, _ = blobs(90)
    names = [
        f"{split}/{name}" for split in ("train", "val", "test") for name in ("a", "b", "c") for _ in range(10)
    ]
    write_folder(tmp_path, images, names)
    found = load_images(tmp_path)
    assert [len(part) for part in found.splits().values()] == [30, 30, 30]
    assert {row.numpy().tobytes() for row in found.test.pixels} == {row.tobytes() for row in images[60:]}


def test_flat_folder_has_no_labels(tmp_path):
    images, _ = blobs()
    write_folder(tmp_path, images, ["."] * len(images))
    found = load_images(tmp_path)
    assert found.classes == ()
    assert (found.train.labels == -1).all()
    assert any("no labels" in line for line in found.describe())


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW", "flat", "unit"])
def test_arrays(tmp_path, layout):
    images, labels = blobs(channels=3 if layout in ("NHWC", "NCHW") else 1)
    given = {
        "NHW": images[..., 0],
        "NHWC": images,
        "NCHW": images.transpose(0, 3, 1, 2),
        "flat": images.reshape(len(images), -1),
        "unit": images[..., 0].astype(np.float32) / 255,
    }[layout]
    np.savez(tmp_path / "x.npz", images=given, labels=labels)
    assert same_images(load_images(tmp_path / "x.npz"), images)


def test_npy_with_labels_beside_and_named_splits(tmp_path):
    images, labels = blobs()
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    assert load_images(tmp_path / "images.npy").classes == ("0", "1", "2")
    np.savez(
        tmp_path / "s.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:]
    )
    found = load_images(tmp_path / "s.npz")
    assert len(found.test) == 20
    assert len(found.train) + len(found.validation) == 40


def test_idx(tmp_path):
    images, labels = blobs()
    for name, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        head = struct.pack(">iiii", 2051, rows.stop - rows.start, 8, 8)
        with gzip.open(tmp_path / f"{name}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + images[rows].tobytes())
        with gzip.open(tmp_path / f"{name}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(
                struct.pack(">ii", 2049, rows.stop - rows.start) + labels[rows].astype(np.uint8).tobytes()
            )
    found = load_images(tmp_path)
    assert torch.equal(found.test.pixels, torch.from_numpy(images[40:].transpose(0, 3, 1, 2)))
    assert found.test.labels.tolist() == labels[40:].tolist()


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet", "metadata"])
def test_tables(tmp_path, form):
    images, labels = blobs()
    write_folder(tmp_path, images, ["files"] * len(images))
    rows = [{"path": f"files/{row:03d}.png", "label": f"c{label}"} for row, label in enumerate(labels)]
    rows[0]["label"] = ""
    file = tmp_path / f"rows.{form}"
    if form in ("csv", "tsv"):
        mark = "," if form == "csv" else "\t"
        file.write_text("\n".join([mark.join(["path", "label"]), *(mark.join(row.values()) for row in rows)]))
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows))
    elif form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        contents = [{"bytes": (tmp_path / row["path"]).read_bytes(), "path": row["path"]} for row in rows]
        pq.write_table(pa.table({"image": contents, "label": [row["label"] for row in rows]}), file)
    else:
        (tmp_path / "metadata.jsonl").write_text(
            "\n".join(json.dumps({"file_name": row["path"], "label": row["label"]}) for row in rows)
        )
        file = tmp_path
    found = load_images(file)
    assert found.classes == ("c0", "c1", "c2")
    assert same_images(found, images)
    assert int((found.train.labels == -1).sum()) == 1
    assert any("1 images without a label" in line for line in found.describe())


def test_hugging_face_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    images, labels = blobs()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    rows = {"image": [PIL.fromarray(image.squeeze()) for image in images], "label": labels.tolist()}
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(
        {"train": table.select(range(40)), "test": table.select(range(40, 60))}
    ).save_to_disk(tmp_path)
    found = load_images(tmp_path)
    assert found.classes == ("a", "b", "c")
    assert torch.equal(found.test.pixels, torch.from_numpy(images[40:].transpose(0, 3, 1, 2)))


def test_copies_stay_on_one_side(tmp_path):
    images, labels = blobs(90)
    images[30:60], labels[30:60] = images[:30], labels[:30]
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    found = load_images(tmp_path / "x.npz")
    assert overlap(found.train, found.test) == overlap(found.train, found.validation) == 0
    named = {"x_train": images[:50], "y_train": labels[:50], "x_test": images[50:], "y_test": labels[50:]}
    np.savez(tmp_path / "leak.npz", **named)
    assert any("pixel-for-pixel" in line for line in load_images(tmp_path / "leak.npz").describe())


def test_limits_keep_proportions_and_few_is_exact(tmp_path):
    images, _ = blobs(300)
    labels = np.repeat([0, 1, 2], [200, 70, 30])
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    found = load_images(tmp_path / "x.npz", limit=60, evaluation_limit=20)
    assert torch.bincount(found.train.labels).tolist() == [40, 14, 6]
    assert len(found.test) == 20
    few = found.train.few(5, seed=3)
    assert torch.bincount(few.labels).tolist() == [5, 5, 5]
    assert torch.equal(few.pixels, found.train.few(5, seed=3).pixels)


def test_sizes_modes_and_transparency(tmp_path):
    generator = np.random.default_rng(1)
    for row in range(20):
        side = 12 if row % 2 else 16
        image = PIL.fromarray(generator.integers(0, 255, (side, side + 4, 4), dtype=np.uint8), "RGBA")
        (tmp_path / f"c{row % 2}").mkdir(exist_ok=True)
        image.save(tmp_path / f"c{row % 2}" / f"{row}.png")
    assert load_images(tmp_path).shape == (3, 14, 14)
    assert load_images(tmp_path, size=10).shape == (3, 10, 10)


def lesson(tmp_path, kind):
    images, labels = blobs()
    if kind == "one class":
        write_folder(tmp_path, images, ["cat"] * len(images))
    elif kind == "NaN":
        bad = images.astype(np.float32) / 255
        bad[7, 0, 0] = np.nan
        np.savez(tmp_path / "images.npz", images=bad, labels=labels)
    elif kind == "normalised":
        np.savez(tmp_path / "images.npz", images=images / 127.5 - 1.0, labels=labels)
    elif kind == "unreadable":
        write_folder(tmp_path, images, ["a", "b"] * 30)
        (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    elif kind == "column":
        (tmp_path / "metadata.csv").write_text("photo,label\nx.png,1\n")
    elif kind == "labels":
        np.savez(tmp_path / "images.npz", images=images, labels=labels[:50])
    elif kind == "pickled":
        np.savez(tmp_path / "images.npz", images=np.array([None, 1], dtype=object))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "no images in this folder; expected"),
        ("one class", "every labelled image is of the class 'cat'"),
        ("NaN", r"NaN or infinite values \(rows \[7\]\)"),
        ("normalised", "undo the normalisation"),
        ("unreadable", r"1 file is no readable.*broken.png.*unreadable=skip"),
        ("column", "columns.*photo.*image=COLUMN"),
        ("labels", "60 images but 50 labels"),
        ("pickled", "save plain arrays"),
    ],
)
def test_lessons(tmp_path, kind, says):
    lesson(tmp_path, kind)
    with pytest.raises(CounterpointError, match=says):
        load_images(tmp_path)


def test_unreadable_files_can_be_left_out_and_are_counted(tmp_path):
    lesson(tmp_path, "unreadable")
    found = load_images(tmp_path, unreadable="skip")
    assert any("1 file is no readable" in line for line in found.describe())


def test_nothing_there(tmp_path):
    with pytest.raises(CounterpointError, match="does not exist; expected a folder of class folders"):
        load_images(tmp_path / "nowhere")


def test_digits():
    found = load_images("digits", labels_per_class=10)
    assert found.shape == (1, 8, 8)
    assert len(found.classes) == 10
    assert int(found.train.pixels.max()) == 255


def test_arrays_whose_labels_or_values_mean_nothing_are_refused(tmp_path):
    draw = np.random.default_rng(0)
    pixels, classes = draw.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 3
    np.savez(tmp_path / "column.npz", images=pixels, labels=classes[:, None])
    np.savez(tmp_path / "flat.npz", images=pixels, labels=classes)
    column, flat = (load_images(tmp_path / f"{name}.npz") for name in ("column", "flat"))
    assert torch.equal(column.train.labels, flat.train.labels)
    np.savez(tmp_path / "hot.npz", images=pixels, labels=np.eye(3)[classes])
    with pytest.raises(CounterpointError, match=r"labels of shape \[30, 3\].*argmax"):
        load_images(tmp_path / "hot.npz")
    for factor in (
        1.2,
        16,
    ):  # floats that a resizing left beyond 255, and twelve bits: either would be nearly black
        np.savez(tmp_path / "beyond.npz", images=pixels.astype(np.float32) * factor, labels=classes)
        with pytest.raises(CounterpointError, match="nearly black if they are of sixteen bits"):
            load_images(tmp_path / "beyond.npz")
    np.savez(tmp_path / "wide.npz", images=pixels.astype(np.uint16) * 257, labels=classes)
    assert np.array_equal(
        load_images(tmp_path / "wide.npz").train.pixels[:].cpu(), flat.train.pixels[:].cpu()
    )
