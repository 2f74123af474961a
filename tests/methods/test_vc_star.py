"""VC-STaR: levels, stages and filters by a scripted reader; a whole training step by a loop; frozen parts; wrong input."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))
from fake_server import serving, url

from counterpoint.cli.main import app
from counterpoint.conversation import Prompt, pictures_of, turns
from counterpoint.data.language.problems import ProblemData, load
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampled, Sampler
from counterpoint.generation.samplers import Source
from counterpoint.methods.vc_star import VCSTaR
from counterpoint.models import tokens
from counterpoint.models.language import language
from counterpoint.models.language.adapters import freeze
from counterpoint.models.language.language import Language
from counterpoint.pairs.counterparts.leaks import LEAKS, leak, patterns
from counterpoint.pairs.counterparts.prompts import beside, filled
from counterpoint.phases.counterparts.alternatives import verified
from counterpoint.phases.counterparts.settings import Wording
from counterpoint.phases.counterparts.stages import Attempts
from counterpoint.tasks.stock import reader
from counterpoint.training import Budget, Run

SHORT = {
    "wording.hint": "{question}={answer}",
    "wording.alike": "{image}{question}={answer}:{other_image}{other_question}={other_answer}:",
    "wording.unlike": "{image}{question}={answer},{other_image}{other_question}={other_answer},",
    "wording.rethink": "{question}/{rationale}/{contrast}",
    "wording.bare": ";{answer}",
    "wording.verify": "{question}{answer},{rationale}",
    "wording.criticise": "{question}{answer}:{rationale}",
    "wording.revise": "{question}/{rationale}/{feedback}",
}
SMALL: dict[str, Any] = {
    **SHORT, "pairing.image_encoder": "pixels", "pairing.question_encoder": "tfidf", "pairing.image_limit": 1.99, "pairing.question_limit": 2.0,
    "max_new_tokens": 8, "temperature": 0.0, "learning_rate": 0.05, "batch_size": 4, "epochs": 1.0,
}  # fmt: skip
WRITER = """
def rethink(prompts):  # "question/rationale/contrast": the digit of the contrast, the answer of the rationale
    texts = []
    for prompt in prompts:
        question, rationale, contrast = prompt.split("/")
        texts.append((contrast or rationale)[:1] + rationale[1:])
    return texts

def leaky(prompts):
    return ["a second image, " + text for text in rethink(prompts)]

def wrong(prompts):
    return ["1;none" for _ in prompts]
"""
# Of each row: what it answers alone, beside its counterpart, with the hint. Rows 0 and 1 are easy, 2 to 5 median, 6 and 7 hard.
SCRIPT = {
    "a?": ("1;x", "2;x", "3;x"), "b?": ("1;x", "2;y", "3;x"), "c?": ("1;y", "2;x", "3;x"), "d?": ("1;z", "4;x", "5;x"),
    "e?": ("none", "6;y", "7;y"), "f?": ("1;x", "8;y", "9;z"), "g?": ("1;y", "2;z", "3;x"), "h?": ("1;x", "2;x", "3;y"),
}  # fmt: skip
ANSWERS = ("x", "x", "x", "x", "y", "y", "x", "y")
LEARNT = {"c?": "2;x", "d?": "4;x", "e?": "6;y"}  # "f?" is median, and its rethought rationale ends in "z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untaught reader, eight pictures with a question each, and functions that rethink."""
    out = tmp_path_factory.mktemp("vc-star")
    reader.untaught(0, width=32).save(out / "model")
    rows = []
    for at, (question, answer) in enumerate(zip(SCRIPT, ANSWERS)):
        name = f"{question[0]}.png"
        Image.linear_gradient("L").resize((8, 8)).rotate(45 * at).convert("RGB").save(out / name)
        rows.append({"prompt": question, "images": [name], "answer": answer})
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (out / "writer.py").write_text(WRITER)
    return out


def own_data(folder: Path) -> ProblemData:
    return load(folder / "rows.jsonl", validation=0, test=0, scorer="last")


class Scripted:
    """A sampler that writes what the script says, and remembers what it was shown."""

    def __init__(self, model: Language) -> None:
        self.model, self.how, self.prompts = model, Sampler(max_new_tokens=8, temperature=0), list[Prompt]()

    def follow(self) -> None:
        pass

    def __call__(self, prompts: Sequence[Prompt], n: int = 1, draws: Tensor | None = None) -> Sampled:
        self.prompts += prompts
        texts = []
        for prompt in prompts:
            words = "".join(part.get("text", "") for part in turns(prompt)[-1]["content"])
            if (
                len(words) > 3 and words[3] in ",:"
            ):  # about a rationale: approved of but for d's; criticised alike
                texts += [("no" if words[0] == "d" else "yes") if words[3] == "," else "4"] * n
                continue
            which = 1 if len(pictures_of(turns(prompt))) == 2 else 2 if "=" in words else 0
            texts += [SCRIPT[words[:2]][which]] * n
        rows = [[*row, self.model.end_id] for row in self.model.tokenizer(texts)["input_ids"]]
        made = tokens.pad(rows, side="right", fill=self.model.pad_id)
        return Sampled(
            made.ids, made.mask, torch.zeros(made.ids.shape), torch.ones(len(rows), dtype=torch.bool)
        )


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[Scripted]:
    made: list[Scripted] = []

    def build(self: Source, key: str, model: Language, how: Sampler, **_: Any) -> Scripted:
        made.append(Scripted(model))
        return made[-1]

    monkeypatch.setattr(Source, "build", build)
    return made


def fit(out: Path, folder: Path, data: ProblemData | None = None, **settings: Any) -> tuple[Language, Run]:
    given = {**SMALL, "rethinker.author": f"{folder / 'writer.py'}:rethink", **settings}
    model = language.load(folder / "model")
    with Run(out, seed=0, progress=False, audit=True, budget=Budget()) as run:
        return VCSTaR.settings(**given).fit(model, data or own_data(folder), run), run


def learnt(out: Path) -> dict[str, str]:
    """Question -> what was learnt of it, by the run's samples."""
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    return {
        row["prompt"][-1]["content"][-1]["text"]: each["text"]
        for row in rows
        for each in row["answers"]
        if each["stage"] == "learnt"
    }


def test_what_contrast_rescues_is_rethought_filtered_and_learnt(
    tmp_path: Path, folder: Path, scripted: list[Scripted]
) -> None:
    _, run = fit(tmp_path / "run", folder)
    assert learnt(tmp_path / "run") == LEARNT
    (row,) = run.reported.rows("rationales")
    counts = {name: row[name] for name in ("easy", "median", "hard", "chosen", "leaking", "learnt")}
    assert counts == {"easy": 2, "median": 4, "hard": 2, "chosen": 4, "leaking": 0, "learnt": 3}
    assert row["rescued_by_hint_alone"] == 5, "c, d, e, g and h are right with the hint alone"
    assert row["with_counterpart"] == 8
    by_count: dict[int, list[Prompt]] = {1: [], 2: []}
    for prompt in scripted[0].prompts:
        by_count[len(pictures_of(turns(prompt)))].append(prompt)
    assert len(by_count[2]) == 6, "rows that are right alone are not contrasted"
    rows = {each.question: each for each in own_data(folder).train}
    for prompt in by_count[2]:
        picture, words, _, others = turns(prompt)[-1]["content"]
        target = rows[words["text"][:2]]
        assert picture["sha256"] == pictures_of(turns(target.prompt))[0]["sha256"], "the target stands first"
        same = rows[others["text"][:2]].answer == target.answer
        assert words["text"] == f"{target.question}={target.answer}{':' if same else ','}"
    assert {type(each) for each in by_count[1]} == {type(by_count[2][0])}


def test_a_training_step_is_the_mean_over_tokens_of_what_was_learnt(
    tmp_path: Path, folder: Path, scripted: list[Scripted]
) -> None:
    plain = {
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "optimizer.schedule": "constant",
        "optimizer.warmup": 0.0,
    }
    model, _ = fit(tmp_path / "run", folder, **plain, **{"optimizer.max_grad_norm": None})
    start = language.load(folder / "model").eval()
    rows = {each.question: each for each in own_data(folder).train}
    total, count = torch.zeros(()), 0
    for question, text in LEARNT.items():  # one row at a time, through the model's own forward
        picture = Image.open(pictures_of(turns(rows[question].prompt))[0]["image"])
        made = start.pictures.processor(  # type: ignore[union-attr]
            text=[f"<s><image>{question}~{text}</s>"],
            images=[picture],
            return_tensors="pt",
            add_special_tokens=False,
        )
        log_probs = start.causal(**made).logits[0].log_softmax(-1)
        ids = made["input_ids"][0]
        for at in range(len(ids) - len(text) - 1, len(ids)):
            total, count = total - log_probs[at - 1, ids[at]], count + 1
    (total / count).backward()
    moved = 0
    for (name, now), before in zip(model.named_parameters(), start.parameters(), strict=True):
        if "vision_tower" in name:
            assert torch.equal(now, before), name
            continue
        gradient = torch.zeros_like(before) if before.grad is None else before.grad
        torch.testing.assert_close(
            now, before - 0.05 * gradient, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
        moved += bool(gradient.any())
    assert moved > 20


@pytest.mark.parametrize(
    ("rationale", "texts"),
    [
        ("hinted", {"c?": "3;x", "d?": "5;x", "e?": "7;y"}),
        ("uncontrasted", {"c?": "3;x", "d?": "5;x", "e?": "7;y"}),
        ("verified", {"c?": "3;x", "e?": "7;y"}),
        ("feedback", {"c?": "4;x", "d?": "4;x", "e?": "4;y"}),
        ("answer", {"c?": ";x", "d?": ";x", "e?": ";y", "f?": ";y"}),
    ],
)
def test_controls_learn_from_the_same_questions(
    tmp_path: Path, folder: Path, scripted: list[Scripted], rationale: str, texts: dict[str, str]
) -> None:
    fit(tmp_path / "run", folder, rationale=rationale)
    assert learnt(tmp_path / "run") == texts


def test_the_first_right_rationale_that_is_approved_of_is_learnt() -> None:
    class Verifier:
        wording = Wording()

        def about(self, name: str, template: str, rows: object, asked: list[tuple[int, str]]) -> list[str]:
            self.asked = asked
            return ["Yes" if "loop" in text else "No, yes" for _, text in asked]

    verifier: Any = Verifier()
    texts = {4: ["a line", "a loop", "loops"], 7: ["no circle"], 9: ["a loop"]}
    right = {4: [True, True, True], 7: [True], 9: [False]}
    assert verified(verifier, [], [4, 7, 9], Attempts(texts, right)) == {4: "a loop"}
    assert verifier.asked == [(4, "a line"), (4, "a loop"), (4, "loops"), (7, "no circle")]


def test_a_verifier_that_approves_of_nothing_is_named(
    tmp_path: Path, folder: Path, scripted: list[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoint.phases.counterparts.alternatives.approves", lambda verdict: False)
    with pytest.raises(CounterpointError, match=r"0 give something away, the others are not approved of"):
        fit(tmp_path / "run", folder, rationale="verified", attempts=2)


def test_other_levels_are_learnt_where_that_is_wanted(
    tmp_path: Path, folder: Path, scripted: list[Scripted]
) -> None:
    fit(tmp_path / "run", folder, keep="easy,median", rationale="answer")
    assert set(learnt(tmp_path / "run")) == set("abcdef"[at] + "?" for at in range(6))


def test_the_pass_rate_decides_what_is_easy(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, scripted: list[Scripted]
) -> None:
    whole = Scripted.__call__

    def now_and_then(self: Scripted, prompts: Sequence[Prompt], n: int = 1, draws: Any = None) -> Sampled:
        drawn = whole(self, prompts, n, draws)
        if n > 1:  # the second of two answers of every prompt is right
            right = self.model.tokenizer(";x")["input_ids"]
            drawn.ids[1::n] = self.model.end_id
            drawn.ids[1::n, : len(right)] = torch.tensor(right)
        return drawn

    monkeypatch.setattr(Scripted, "__call__", now_and_then)
    counts = []
    settings = {"attempts": 2, "keep": "easy,median,hard", "rationale": "answer", "judge": "format:.*;x"}
    for at, rate in enumerate((0.5, 1.0)):
        _, run = fit(tmp_path / str(at), folder, pass_rate=rate, **settings)
        (row,) = run.reported.rows("rationales")
        counts.append({name: row[name] for name in ("easy", "median", "hard")})
    assert counts == [{"easy": 8, "median": 0, "hard": 0}, {"easy": 4, "median": 2, "hard": 2}]


def test_what_gives_the_second_image_away_is_filtered_out(
    tmp_path: Path, folder: Path, scripted: list[Scripted]
) -> None:
    with pytest.raises(
        CounterpointError, match=r"8 rows with a counterpart 4 are median.*4 give something away"
    ):
        fit(tmp_path / "run", folder, **{"rethinker.author": f"{folder / 'writer.py'}:leaky"})
    with pytest.raises(CounterpointError, match=r"0 give something away, the others end in another answer"):
        fit(tmp_path / "wrong", folder, **{"rethinker.author": f"{folder / 'writer.py'}:wrong"})
    fit(tmp_path / "allowed", folder, leaks="", **{"rethinker.author": f"{folder / 'writer.py'}:leaky"})
    assert len(learnt(tmp_path / "allowed")) == 3


def test_rounds_are_by_the_model_of_the_round_before(tmp_path: Path, folder: Path) -> None:
    settings = {"rounds": 2, "keep": "easy,median,hard", "rationale": "answer"}
    _, run = fit(tmp_path / "run", folder, **settings)
    assert [row["round"] for row in run.reported.rows("rationales")] == [0, 1]
    stages = [
        {path.name for path in (tmp_path / "run" / "stages" / f"rounds-{r}").iterdir()} for r in range(2)
    ]
    assert stages[0] == stages[1] >= {"alone", "hinted", "contrasted", "filter-judged"}
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 16


def test_frozen_parts_stay_and_others_may_be_named(
    tmp_path: Path, folder: Path, scripted: list[Scripted]
) -> None:
    start = language.load(folder / "model")
    model, _ = fit(tmp_path / "run", folder, frozen="", **{"optimizer.warmup": 0.0})
    moved = {
        name.split(".")[2]
        for (name, now), before in zip(model.named_parameters(), start.parameters(), strict=True)
        if not torch.equal(now, before)
    }
    assert {"vision_tower", "language_model"} <= moved
    adapted = start.with_lora(language.LoRA(rank=2))
    held = freeze(adapted, "vision_tower")
    assert held > 10
    trained = [name for name, each in adapted.named_parameters() if each.requires_grad]
    assert trained
    assert not any("vision_tower" in name for name in trained)
    with pytest.raises(CounterpointError, match=r"frozen=tower: the model has no such part.*vision_tower"):
        freeze(start, "tower")
    with pytest.raises(CounterpointError, match="nothing is left to train"):
        freeze(language.load(folder / "model"), "model,lm_head")


def test_what_is_filled_in_is_not_read_again_and_words_around_the_pictures_stay(folder: Path) -> None:
    assert filled("{a}{b}", a="{b}", b="1") == "{b}1"
    one, two = list(own_data(folder).train)[:2]
    talk = beside(one, two, "first {image} is {question}{answer} second {other_image}.")
    parts = [part.get("text", part["type"]) for part in talk[-1]["content"]]
    assert parts == ["first ", "image", f" is {one.question}{one.answer} second ", "image", "."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Compared with the SECOND image it has a loop", "SECOND image"),
        ("as both images show", "both images"),
        ("the hint says so", "hint"),
        ("by contrastive analysis", "contrastive analysis"),
        ("since the given answer is 4", "given answer"),
        ("the image shows a chintz sofa, the answer is 4", ""),
    ],
)
def test_leaks(text: str, words: str) -> None:
    assert leak(text, patterns(LEAKS)) == words
    assert not patterns(" ; ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": "medium"}, "keep='medium'; expected some of easy, median, hard"),
        ({"keep": ""}, "expected some of easy"),
        ({"pass_rate": 1.5}, "pass_rate=1.5; expected a share"),
        ({"attempts": 0}, "attempts=0; expected a number above 0"),
        ({"leaks": "("}, r"leaks: '\(' is no regular expression"),
        ({"wording.alike": "{image}"}, r"wording.alike has no field \{other_image\}"),
        ({"wording.alone": "x"}, r"wording.alone has no field \{question\}"),
        ({"rationale": "contrast"}, "rationale"),
        ({"frozen": "towers"}, "frozen=towers: the model has no such part"),
        ({"pairing.diagrams": "charts"}, "pairing.diagrams: no row has 'charts'"),
        ({"pairing.image_limit": 1e-5}, "none of 8 rows has a counterpart"),
        ({"pairing.image_encoder": "nowhere"}, "nowhere"),
        ({"pairing.only": "same"}, "only"),
    ],
)
def test_wrong_settings_are_one_message(
    tmp_path: Path, folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path / "run", folder, **settings)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "a?", "answer": "x"}], "training row 1 has no picture"),
        ([{"prompt": "a?", "answer": "x", "images": ["a.png", "b.png"]}], "training row 1 has 2 pictures"),
        ([{"prompt": "a?", "images": ["a.png"]}], "training row 1 .* has no answer"),
        ([{"prompt": "a?", "answer": "x", "images": ["z.png"]}], "there is no picture z.png"),
        ([{"prompt": "a?", "answer": "x", "images": ["a.png"]}] * 2, "none of 2 rows has a counterpart"),
    ],
)
def test_wrong_rows_are_one_message(
    folder: Path, rows: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    path = folder / "wrong.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(CounterpointError, match=message):
        fit(tmp_path / "run", folder, load(path, validation=0, test=0))


def test_a_text_model_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    from counterpoint.models.language.characters import tiny

    tiny(seed=0).save(tmp_path / "text")
    given = ["run", "vc-star", "--data", str(folder / "rows.jsonl"), "--model", str(tmp_path / "text")]
    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "run")])
    assert result.exit_code != 0
    assert "vision-language" in result.output
    assert not (tmp_path / "run").exists()


def test_data_sets_are_searched_apart_and_diagrams_have_their_own_limit(folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    path = folder / "sets.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({**row, "dataset": "charts" if at < 4 else "photos"}) for at, row in enumerate(rows)
        )
    )
    data = load(path, validation=0, test=0, scorer="last")
    assert [row.meta["dataset"] for row in data.train] == ["charts"] * 4 + ["photos"] * 4
    assert data.fingerprint() != own_data(folder).fingerprint()
    settings = {"keep": "easy,median,hard", "rationale": "answer"}
    found = []
    for at, extra in enumerate(({}, {"pairing.diagrams": "charts", "pairing.diagram_limit": 1e-3})):
        _, run = fit(tmp_path / str(at), folder, data, **settings, **extra)
        found.append(run.reported.rows("rationales")[0]["with_counterpart"])
    assert found == [8, 4]


def test_the_default_wording_names_what_it_needs() -> None:
    Wording().check("vc-star")
    for text in (Wording().alike, Wording().unlike):
        assert text.index("{image}") < text.index("{question}") < text.index("{other_image}")


def test_a_server_is_sent_the_images(tmp_path: Path, folder: Path) -> None:
    with serving() as fake:
        settings = {
            "sampler.kind": "server",
            "sampler.url": url(fake),
            "sampler.model": "m",
            "temperature": 0.5,
        }
        fit(tmp_path / "run", folder, judge="format:.+", keep="easy", rationale="answer", **settings)
        counts = {
            sum(part["type"] == "image_url" for part in body["messages"][-1]["content"]) for body in fake.seen
        }
    assert counts == {1, 2}
    assert len(learnt(tmp_path / "run")) == 8
