"""Wrong input to vega from the command line: one message that says what to do, status 2, nothing half-written."""

import json

import pytest


def mails(path, count=40, **changes):
    rows = [
        {"text": f"{'win cash' if i % 2 else 'see notes'} {i}", "label": ("work", "spam")[i % 2]}
        for i in range(count)
    ]
    path.write_text("\n".join(json.dumps({**row, **{k: f(row) for k, f in changes.items()}}) for row in rows))
    return path


def refused(done, out, *says):
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in says:
        assert part in done.stderr
    assert not out.exists()


CASES = {
    "one class": ({"label": lambda row: "work"}, (), "at least two classes"),
    "several labels": ({"label": lambda row: ["work", "spam"]}, (), "several labels a text"),
    "no text": ({"text": lambda row: ""}, (), "have no text"),
    "a number for a text": ({"text": lambda row: 3.5}, (), "expected text in quotation marks"),
    "unknown setting": ({}, ("--adversarail",), "did you mean 'adversarial'"),
    "a word for a number": ({}, ("--pretraining.mask-rate", "much"), "mask_rate"),
    "words cannot be pretrained": ({}, ("--model", "words"), "replaced_tokens=false"),
    "no model of that name": ({}, ("--model", "debreta"), "did you mean 'deberta'"),
    "no gaps": ({}, ("--pretraining.mask-rate", "0"), "mask_rate=0.0"),
    "a threshold in percent": ({}, ("--transduction.threshold", "90"), "threshold=90.0"),
    "no input without a label": (
        {},
        ("--transduction-inputs", "unlabelled"),
        "every training text has a label",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_message(cli, tmp_path, name):
    changes, options, lesson = CASES[name]
    data, out = mails(tmp_path / "mails.jsonl", **changes), tmp_path / "out"
    model = () if "--model" in options else ("--model", "deberta")
    refused(cli("run", "vega", "--data", data, *model, "--steps", "9", "--out", out, *options), out, lesson)


def test_empty_file(cli, tmp_path):
    (tmp_path / "mails.csv").write_text("")
    refused(
        cli("run", "vega", "--data", tmp_path / "mails.csv", "--steps", "2", "--out", tmp_path / "out"),
        tmp_path / "out",
        "mails.csv",
    )
