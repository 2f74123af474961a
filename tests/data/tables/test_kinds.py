"""Every kind reads its files through the one reader: gaps are said, whole numbers stay whole, times keep their zones."""

import json

import numpy as np
import pytest
import torch

from counterpoint.data.interactions.load import load_interactions
from counterpoint.data.language import preferences, problems
from counterpoint.data.regression.load import load_regression
from counterpoint.data.text.load import load_texts
from counterpoint.errors import CounterpointError
from counterpoint.tasks.regression import TASK


def csv(path, rows):
    path.write_text("".join(",".join(str(cell) for cell in row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("word", ["", "NaN", "NA", "null", "None", "?", "n/a"])
def test_a_word_for_missing_is_no_class_and_is_said(tmp_path, word):
    rows = [(f"film number {n}", word if n % 8 == 7 else ("pos", "neg")[n % 2]) for n in range(64)]
    data = load_texts(csv(tmp_path / "a.csv", [("text", "label"), *rows]))
    assert data.classes == ("neg", "pos")
    assert sum(int(part.labelled.sum()) for part in data.splits().values()) == 56
    assert not word or any(f"8 gaps, some written '{word}'" in note for note in data.describe())


def test_classes_that_look_like_words_for_missing(tmp_path):
    rows = [(f"film number {n}", "+-"[n % 2]) for n in range(40)]
    assert load_texts(csv(tmp_path / "a.csv", [("text", "label"), *rows])).classes == ("+", "-")
    lines = [json.dumps({"text": f"film {n}", "label": ("None", "some")[n % 2]}) for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert load_texts(tmp_path / "a.jsonl").classes == ("None", "some")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1.0", "2.0"], ("1", "2")),
        (["1.0", "2"], ("1", "2")),
        (["1.5", "2.0"], ("1.5", "2.0")),
        (["007", "7"], ("007", "7")),
        (["v1.0", "2.0"], ("2.0", "v1.0")),
    ],
)
def test_whole_numbers_that_arrived_with_a_point(tmp_path, labels, classes):
    rows = [(f"film number {n}", labels[n % 2]) for n in range(40)]
    assert load_texts(csv(tmp_path / "a.csv", [("text", "label"), *rows])).classes == classes


def test_numbers_with_stray_words_stay_numbers_and_gaps_are_said(tmp_path):
    rows = [
        (("?", "n/a", "-", "", "NULL")[n] if n < 5 else n / 4, ("red", "", "blue")[n % 3], n % 7)
        for n in range(60)
    ]
    path = csv(tmp_path / "a.csv", [("size", "colour", "target"), *rows])
    with pytest.raises(CounterpointError, match="'size' lacks 5 values, the first in row 1"):
        load_regression(path)
    data = load_regression(path, missing="mean")
    assert data.columns == ("size", "colour=blue", "colour=red")
    assert any("column 'size': 5 gaps" in note for note in data.notes)
    assert any("column 'colour': 20 gaps" in note for note in data.notes)


def test_a_cell_that_is_no_number_among_numbers_is_named(tmp_path):
    rows = [("1O" if n == 33 else n * 0.7, n % 7) for n in range(60)]
    path = csv(tmp_path / "a.csv", [("size", "target"), *rows])
    with pytest.raises(CounterpointError, match="row 34: '1O'.*names=size"):
        load_regression(path)


def test_codes_with_leading_zeros_are_names(tmp_path):
    rows = [(("007", "012", "7")[n % 3], n % 7) for n in range(60)]
    path = csv(tmp_path / "a.csv", [("code", "target"), *rows])
    assert load_regression(path).columns == ("code=007", "code=012", "code=7")
    plain = csv(tmp_path / "b.csv", [("code", "target"), *((code.lstrip("0"), y) for code, y in rows)])
    assert load_regression(plain).columns == ("code",)
    assert load_regression(plain, names="code").columns == ("code=12", "code=7")


def test_decimal_commas(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("size;target\n" + "".join(f"{n},5;{n % 7},25\n" for n in range(40)))
    data = load_regression(path)
    values = torch.cat([part.inputs[:, 0] for part in data.splits().values()]).sort().values
    assert values.tolist() == [n + 0.5 for n in range(40)]
    assert float(data.train.targets.min()) == 0.25


@pytest.mark.parametrize("name", ["index", "Unnamed: 0", "", "row_id"])
def test_an_index_is_no_input_in_whatever_order(tmp_path, name):
    order = np.random.default_rng(0).permutation(60)
    rows = [(n, n * 0.5, n % 7) for n in order]
    data = load_regression(csv(tmp_path / "a.csv", [(name, "size", "target"), *rows]))
    assert data.columns == ("size",)
    assert any("left out" in note for note in data.notes)
    kept = load_regression(csv(tmp_path / "b.csv", [("day", "size", "target"), *rows]))
    assert kept.columns == ("day", "size")
    assert any("'day' counts the rows" in note for note in kept.notes)


@pytest.mark.parametrize(("base", "step"), [(1.7e9, 1.0), (0.0, 1e39), (3e18, 1e12), (-1e300, 1e299)])
def test_targets_beyond_float32_are_learnt_in_float64_units(tmp_path, base, step):
    rows = [(n % 13, repr(base + step * (n % 13))) for n in range(80)]
    data = load_regression(csv(tmp_path / "a.csv", [("size", "target"), *rows]))
    assert torch.isfinite(data.train.targets).all()
    assert len(data.train.targets.unique()) == 13
    exact = data.train.targets.double() * data.scale + data.offset
    size = data.train.inputs[:, 0].double()
    assert torch.allclose(exact, base + step * size, atol=step * 1e-3, rtol=0)
    figures = TASK.evaluate(TASK.load_model("mlp", data, 0).eval(), data, "test")
    assert 0 <= figures["probe_mae"] < 4 * step
    assert np.isfinite(figures["r2"])


def test_a_saved_model_reads_other_rows_as_it_learnt_them(tmp_path):
    rows = [((n * 7 % 11) / 2, ("red", "blue", "green")[n % 3], n % 7) for n in range(60)]
    head = ("size", "colour", "target")
    first = load_regression(csv(tmp_path / "a.csv", [head, *rows]))
    model = TASK.load_model("mlp:layer", first, 0).eval()
    TASK.save_model(model, tmp_path / "model")
    # Another order of columns and a colour less: the same rows give the same features.
    fewer = [(y, size, colour) for size, colour, y in rows if colour != "green"]
    second = load_regression(csv(tmp_path / "b.csv", [("target", "size", "colour"), *fewer]))
    opened = TASK.load_model(str(tmp_path / "model"), second, 0).eval()
    row = second.train.inputs[:1]
    whole = torch.tensor([[float(row[0, 0]), float(row[0, 1]), 0.0, float(row[0, 2])]])
    assert first.columns == ("size", "colour=blue", "colour=green", "colour=red")
    assert torch.equal(opened(row), model(whole))
    # A colour that the model has not seen, and a gap: refused, unless the columns are read as the model's.
    odd = [
        ("?" if n == 5 else size, "pink" if n == 7 else colour, y) for n, (size, colour, y) in enumerate(rows)
    ]
    path = csv(tmp_path / "c.csv", [head, *odd])
    with pytest.raises(CounterpointError, match="columns_of"):
        TASK.load_model(str(tmp_path / "model"), load_regression(path, missing="mean"), 0)
    third = load_regression(path, columns_of=str(tmp_path / "model"))
    assert third.columns == first.columns
    together = torch.cat([part.inputs for part in third.splits().values()])
    assert float(np.float32(first.encoding[0].fill)) in together[:, 0].tolist()
    assert any("has not seen 'pink'" in note for note in third.notes)
    TASK.load_model(str(tmp_path / "model"), third, 0)


PLAIN = [f"2020-01-01T00:{n:02d}:00" for n in range(60)]


@pytest.mark.parametrize(
    "form",
    [
        lambda n: PLAIN[n] + "Z",
        lambda n: PLAIN[n] + "+00:00",
        lambda n: f"2020-01-01T02:{n:02d}:00+02:00",
        lambda n: f"2020-01-01 01:{n:02d}:00.250+0100",
        lambda n: PLAIN[n] + ("Z" if n % 2 else ""),
        lambda n: 1577836800 + 60 * n,
        lambda n: f"20200101T00{n:02d}00Z",
    ],
)
def test_times_with_zones_and_fractions(tmp_path, form):
    head = ("user", "item", "time")
    rows = [(n % 12, n * 7 % 17) for n in range(60)]
    right = load_interactions(
        csv(tmp_path / "a.csv", [head, *((*row, PLAIN[n]) for n, row in enumerate(rows))]), split="time"
    )
    found = load_interactions(
        csv(tmp_path / "b.csv", [head, *((*row, form(n)) for n, row in enumerate(rows))]), split="time"
    )
    assert found.fingerprint() == right.fingerprint()


def test_ids_with_points_zeros_and_old_encodings(tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(
        "\n".join(f"{n % 8}.0::00{n * 7 % 23}, caf\u00e9 \u2026::4" for n in range(72)).encode("cp1252")
    )
    data = load_interactions(path)
    assert data.users[:3] == ["0", "1", "2"]
    assert data.items[0] == "000, café …"
    assert "CP1252" in data.describe()[0]


def test_gaps_of_problems_and_preferences_are_said(tmp_path):
    rows = [(f"what is {n}+1?", n + 1, "NULL" if n % 10 == 0 else "see above") for n in range(60)]
    data = problems.load(csv(tmp_path / "a.csv", [("prompt", "answer", "hint"), *rows]))
    assert any("column 'hint': 6 gaps, some written 'NULL'" in note for note in data.describe())
    pairs = [(f"q{n}", "good", "NaN" if n == 4 else "bad") for n in range(60)]
    with pytest.raises(CounterpointError, match="row 5: nothing in 'rejected'"):
        preferences.load(csv(tmp_path / "b.csv", [("prompt", "chosen", "rejected"), *pairs]))
