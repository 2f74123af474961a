"""The setting ``store`` and the command that writes one: every method that distils reads the same folder, or says why it cannot."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.data.language.problem import Problem
from counterpoint.data.language.problems import ProblemData, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.kernels.vocabulary import divergence
from counterpoint.methods.catalog import load as method
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import join
from counterpoint.pairs.demonstrations import with_demonstration
from counterpoint.teachers import store_writer
from counterpoint.teachers.answering import Answering
from counterpoint.teachers.frozen import Frozen
from counterpoint.teachers.hinted import Hinted
from counterpoint.teachers.problem_store import rows_of, store_problems
from counterpoint.teachers.store_files import VOCABULARY, write_vocabulary
from counterpoint.teachers.stored import Stored
from counterpoint.training import Budget, Run

DATA = "worked-sums?size=80&validation=4&test=4&digits=2"
TEMPLATE = "{demonstration}#{prompt}"
OWN: dict[str, dict[str, Any]] = {
    "gkd": {"on_policy": 0.0, "beta": 0.0},
    "sdft": {"teacher": "frozen", "divergence": "forward", "max_new_tokens": 6},
    "unisd": {"mode": "plain", "max_new_tokens": 6, "temperature": 1.0},
}


def train(key: str, out: Path, store: Path, seed: int = 0, data: Any = None, **settings: Any) -> list[Any]:
    given = {
        "lora_rank": 4, "adapter.dropout": 0.0, "batch_size": 8, "template": TEMPLATE, "learning_rate": 1e-2, "store": str(store),
    }  # fmt: skip
    chosen = method(key).settings(**given | OWN[key] | settings)
    with Run(out, seed=seed, budget=Budget(steps=3), progress=False) as run:
        chosen.fit(tiny(seed=0), load(DATA) if data is None else data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("key", OWN)
def test_one_setting_writes_once_and_every_seed_reads(tmp_path: Path, key: str) -> None:
    store = tmp_path / "store"
    events = train(key, tmp_path / "first", store)
    assert len(events) == 3
    assert all(event["loss"] == event["loss"] for event in events)
    before = files(store)
    assert {"settings.json", "store.json", VOCABULARY, "shard-000000.safetensors"} <= before.keys()
    train(key, tmp_path / "second", store, seed=1)
    assert files(store) == before, "a run with another seed only reads"
    stored = Stored(store)
    assert stored.sampled == (key != "gkd")
    assert len(stored.rows) == 80


@pytest.mark.parametrize("key", ["sdft", "unisd"])
def test_what_is_learnt_from_is_what_the_student_first_wrote(tmp_path: Path, key: str) -> None:
    """The loss of the first step is that of the live teacher on the stored completions, but for the draws and the teacher's entropy."""
    events = train(key, tmp_path / "run", tmp_path / "store")
    stored, data, model = Stored(tmp_path / "store"), load(DATA).train, tiny(seed=0).eval()
    with Run(tmp_path / "twin", seed=0, progress=False) as run:
        batch = next(iter(run.batches(data, 8, epochs=1.0)))
    prompts, completions = rows_of(stored, model, batch.items, batch.index)
    shown = [with_demonstration(row, row.reference, TEMPLATE) for row in batch.items]
    live = Answering(Frozen(model)).answer(shown, completions)
    both, mask = join(prompts, completions), completions.mask.bool()
    with torch.no_grad():
        scores = model.scores(model(both.ids, both.mask, last=completions.width))
        whole = divergence(scores, live, "forward", mask=mask).sum(1) / mask.sum(1)
        sparse = divergence(scores, stored.answer([], completions, batch.index), "forward", mask=mask)
    loss = float((sparse.sum(1) / mask.sum(1)).mean())
    assert events[0]["loss"] == pytest.approx(loss, rel=1e-4)
    assert loss >= float(whole.mean()) - 0.05, "a sample of the teacher has less entropy than the teacher"


def test_a_store_of_a_named_teacher_needs_no_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(seed=5).save(tmp_path / "teacher")
    monkeypatch.chdir(tmp_path)
    for completions in ("references", "sampled"):
        done = CliRunner().invoke(app, [
            "store-teacher", "--data", DATA, "--model", "characters", "--teacher", "teacher", "--out", completions,
            "--completions", completions, "--max-new-tokens", "6", "--json",
        ])  # fmt: skip
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["rows"], told["teacher"], told["completions"]) == (80, "teacher", completions)
        again = files(tmp_path / completions)
        CliRunner().invoke(app, [
            "store-teacher", "--data", DATA, "--model", "characters", "--teacher", "teacher", "--out", completions,
            "--completions", completions, "--max-new-tokens", "6",
        ])  # fmt: skip
        after = files(tmp_path / completions)
        assert {name: each[1] for name, each in after.items()} == {
            name: each[1] for name, each in again.items()
        }
    (tmp_path / "teacher").rename(tmp_path / "gone")
    data = load(DATA)
    for key in OWN:
        for completions in ("references", "sampled"):
            assert train(key, tmp_path / f"{key}-{completions}", tmp_path / completions, data=data)


def written(folder: Path, size: int = 80, **options: Any) -> tuple[Stored, Any]:
    model, rows = tiny(seed=0), load(DATA).train.rows[:size]
    teacher = Hinted(Answering(Frozen(model)), lambda row: with_demonstration(row, row.reference, TEMPLATE))
    return store_problems(folder, teacher, model, rows, **options), model


def test_a_token_across_the_border_of_prompt_and_reference_is_the_references(tmp_path: Path) -> None:
    raw = tokenizers.Tokenizer(
        tokenizers.models.BPE({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}, [("a", "b")])
    )
    raw.add_special_tokens(["<pad>", "</s>"])
    names = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>")
    config = copy.deepcopy(tiny(seed=0).config)
    config.vocab_size, config.pad_token_id, config.eos_token_id, config.bos_token_id = 5, 0, 1, None
    model = Language(transformers.AutoModelForCausalLM.from_config(config), names)
    problem = Problem("ba", "ba")  # b, a alone; b, ab, a together
    teacher = Hinted(Answering(Frozen(model)), lambda row: row.prompt)
    stored = store_problems(tmp_path / "store", teacher, model, [problem])
    prompts, completions = rows_of(stored, model, [problem], torch.tensor([0]))
    assert prompts.rows() == [[3]]
    assert completions.rows() == [[4, 2, 1]]
    assert stored.answer([problem], completions, torch.tensor([0])).shape == (1, 3)
    with pytest.raises(CounterpointError, match="row 0: the prompt differs"):
        rows_of(stored, model, [Problem("aa", "ba")], torch.tensor([0]))


def test_few_probabilities_at_a_time_make_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = written(tmp_path / "whole")
    most: list[int] = []

    def counted(probs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        most.append(probs.numel() * 4)
        return multinomial(probs, *args, **kwargs)

    multinomial = torch.multinomial
    monkeypatch.setattr(torch, "multinomial", counted)
    monkeypatch.setattr(store_writer, "BUDGET", 4096)
    parts, _ = written(tmp_path / "parts")
    assert max(most) <= 4096
    assert len(most) > 10
    assert parts.packed.tobytes() == whole.packed.tobytes()


def test_what_does_not_fit_is_refused_with_its_reason(tmp_path: Path) -> None:
    store = tmp_path / "store"
    train("sdft", tmp_path / "run", store)
    with pytest.raises(
        CounterpointError, match="'T' is id|different vocabularies|tokens that the student does not"
    ):
        Stored(store).require_vocabulary(tiny(alphabet="0123456789").tokenizer.get_vocab())
    swapped = tiny(seed=0).tokenizer.get_vocab()
    one, other = sorted(swapped)[5:7]
    swapped[one], swapped[other] = swapped[other], swapped[one]
    with pytest.raises(CounterpointError, match=r"different vocabularies: .* to the student and"):
        Stored(store).require_vocabulary(swapped)
    rows = list(load(DATA).train.rows)
    rows[3] = Problem("9+9=", solution=rows[3].solution, answer=rows[3].answer)
    changed = ProblemData("other", *(Problems(rows, "number") for _ in range(3)))
    with pytest.raises(
        CounterpointError, match="answers other prompts or completions than those of this data"
    ):
        train("sdft", tmp_path / "changed", store, data=changed)
    stored, model = Stored(store), tiny(seed=0)
    with pytest.raises(CounterpointError, match="row 3: the prompt differs from the one in"):
        rows_of(stored, model, [rows[3]], torch.tensor([3]))
    with pytest.raises(CounterpointError, match="other settings"):
        train("sdft", tmp_path / "temperature", store, temperature=0.7)
    with pytest.raises(CounterpointError, match="holds another teacher's answers"):
        twin = method("sdft").settings(**OWN["sdft"], lora_rank=0, template=TEMPLATE, store=str(store))
        with Run(tmp_path / "twin", seed=0, budget=Budget(steps=1), progress=False) as run:
            twin.fit(tiny(seed=9), load(DATA), run)
    written(tmp_path / "named", by="somebody", temperature=2.0)
    with pytest.raises(CounterpointError, match="was written at 2; give the method that temperature"):
        train("gkd", tmp_path / "named-run", tmp_path / "named")
    with pytest.raises(CounterpointError, match="answers the data's references and holds no completions"):
        Stored(tmp_path / "named").completions(torch.tensor([0]))


def test_a_student_of_another_tokenizer_is_refused_by_the_run(tmp_path: Path) -> None:
    written(tmp_path / "named", by="somebody")
    chosen = method("gkd").settings(**OWN["gkd"], lora_rank=0, store=str(tmp_path / "named"))
    other = tiny(alphabet="#+,:;=abcdefghijklmnopqrstuvwxyz 9876543210")
    with (
        Run(tmp_path / "run", seed=0, budget=Budget(steps=1), progress=False) as run,
        pytest.raises(
            CounterpointError,
            match=r"different vocabularies: .* is id \d+ to the student and \d+ to the teacher",
        ),
    ):
        chosen.fit(other, load(DATA), run)


def test_the_vocabulary_of_another_store_is_seen(tmp_path: Path) -> None:
    one, model = written(tmp_path / "one", size=8)
    vocabulary = dict(model.tokenizer.get_vocab())
    first, second = sorted(vocabulary)[5:7]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (tmp_path / "one" / VOCABULARY).unlink()
    write_vocabulary(tmp_path / "one", vocabulary)
    with pytest.raises(CounterpointError, match="is not the vocabulary that the store was written with"):
        one.require_vocabulary(vocabulary)


@pytest.mark.parametrize(
    ("key", "wrong", "says"),
    [
        ("gkd", {"beta": 0.5}, "set both to 0"),
        ("gkd", {"on_policy": 0.5}, "set both to 0"),
        ("sdft", {"teacher": "ema"}, "a teacher that follows the student cannot be stored"),
        ("sdft", {"divergence": "reverse"}, "learnt from by forward KL"),
        ("unisd", {"mode": "ema"}, "other mechanisms need a live one; got mode=ema"),
        ("unisd", {"alpha": 0.5}, "set --mode plain --alpha 0"),
    ],
)
def test_settings_that_need_a_live_teacher_are_refused(
    tmp_path: Path, key: str, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(CounterpointError, match=says):
        train(key, tmp_path / "run", tmp_path / "store", **wrong)
    assert not (tmp_path / "store").exists()


def test_a_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
    stored, model = written(tmp_path / "store", size=8)
    stored.require_vocabulary(model.tokenizer.get_vocab())
    for name in ("store.json", VOCABULARY, "shard-000000.safetensors"):
        path = tmp_path / "store" / name
        whole = path.read_bytes()
        for at in range(0, len(whole), max(len(whole) // 40, 1)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(CounterpointError, match="was altered"):
                Stored(tmp_path / "store").require_vocabulary(model.tokenizer.get_vocab())
        path.write_bytes(whole)
    Stored(tmp_path / "store").require_vocabulary(model.tokenizer.get_vocab())


def test_sampled_completions_come_back_as_they_were(tmp_path: Path) -> None:
    from counterpoint.generation.sampler import Sampler, row_draws

    how = Sampler(max_new_tokens=7)
    stored, model = written(tmp_path / "store", sampler=how, seed=3)
    rows = load(DATA).train.rows
    index = torch.tensor([70, 2, 41])
    one = how(model, model.prompts([rows[at].prompt for at in index]), row_draws(3, index, 7))
    assert stored.completions(index).rows() == one.rows()
    answer = stored.answer([], stored.completions(index), index)
    assert torch.allclose(answer.probs.sum(-1), stored.completions(index).mask.float())


def test_agreement_of_one_context_is_refused_before_anything_is_sampled(tmp_path: Path) -> None:
    wrong = method("unisd").settings(mode="agreement_tok_random", **{"agreement.num_contexts": 1})
    with (
        Run(tmp_path / "run", seed=0, progress=False) as run,
        pytest.raises(CounterpointError, match=r"agreement\.num_contexts=1, and agreement compares contexts"),
    ):
        wrong.fit(tiny(seed=0), load(DATA), run)
