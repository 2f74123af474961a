"""distiller: a step equals its terms written out, every pipeline runs and resumes, students are ordinary folders, copies are made right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from counterpoint.data.text.load import Texts, load_texts
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.transformer import (
    fresh_transformer,
    shortened,
    word_tokenizer,
)
from counterpoint.models.text.words import vocabulary
from counterpoint.objectives.distillation.layer_map import transport_plan
from counterpoint.objectives.distillation.mutual_information import interpolated_bound
from counterpoint.objectives.reduction import total
from counterpoint.pairs.text_augmentation import back_translated, nucleus, reworded, swapped
from counterpoint.phases.distillation.layer_match import LayerMatch
from counterpoint.tasks.text import TASK
from counterpoint.training import Budget, Run
from texts_made_up import rows, write_csv

SMALL: dict[str, Any] = {
    "training.batch_size": 8,
    "training.learning_rate": 1e-3,
    "teacher.learning_rate": 1e-3,
}


class Alone:
    """One process."""

    world = 1

    def gather_constant(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    return load_texts(write_csv(tmp_path_factory.mktemp("mails") / "mails.csv", rows(100)))


@pytest.fixture(scope="module")
def teacher(data: Texts, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier's folder: four layers of 16, without dropout."""
    folder = tmp_path_factory.mktemp("teacher")
    encoder = quiet(fresh_transformer(vocabulary(data.train.texts), layers=4, width=16, heads=2, seed=5))
    with_linear_head(encoder, data.classes, False, 5).save_pretrained(folder)
    return str(folder)


def quiet(encoder: Any) -> Any:
    """The same encoder without dropout, so that steps can be repeated."""
    encoder.net.config.hidden_dropout_prob = encoder.net.config.attention_probs_dropout_prob = 0.0
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = 0.0
    return encoder


def student(data: Texts, width: int = 8) -> Any:
    return quiet(fresh_transformer(vocabulary(data.train.texts), layers=2, width=width, heads=2, seed=1))


def quiet_head(data: Texts) -> Any:
    return with_linear_head(student(data), data.classes, False, 1, dropout=0.0)


def fit(folder: Path, data: Texts, teacher: str, *, steps: int = 4, model: Any = None, run_class: type[Run] = Run, options: dict[str, Any] = {}, **settings: Any) -> Any:  # fmt: skip
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        method = load("distiller").settings(**{**SMALL, "teacher.model": teacher, **settings})
        return method.fit(student(data) if model is None else model, data, run)


@pytest.mark.parametrize(
    ("loss", "mapping"), [("mse", "skip"), ("cosine", "last"), ("pkd", "emd"), ("mi", "skip"), ("mi", "emd")]
)
def test_a_step_equals_its_terms_written_out(
    tmp_path: Path, data: Texts, teacher: str, loss: str, mapping: str
) -> None:
    """The first step's total and the gradient of every parameter, student, projections and critics, from loops over pairs of layers."""
    seen: list[Any] = []
    HERE: dict[str, Any] = {}

    class Watching(Run):
        def state(self, **named: Any) -> Any:
            HERE.update(named)
            return super().state(**named)

        def batches(self, *given: Any, **options: Any) -> Any:
            for batch in super().batches(*given, **options):
                HERE.setdefault("items", batch.items)
                yield batch

        def step(self, losses: Any, **options: Any) -> float:
            if not seen:
                leaves = [*HERE["model"].parameters(), *HERE["match"].parameters()]
                value = total(losses)
                seen.append(
                    (value.detach(), torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True))
                )
                seen.append(
                    {
                        k: v.detach().clone()
                        for part in ("model", "match")
                        for k, v in HERE[part].named_parameters(prefix=part)
                    }
                )
            return super().step(losses, **options)

    settings = {"weights.hard": 0.5, "weights.intermediate": 0.3, "temperature": 2.0, "alpha": 0.4}
    fit(
        tmp_path / "run",
        data,
        teacher,
        model=quiet_head(data),
        run_class=Watching,
        loss=loss,
        mapping=mapping,
        **settings,
    )
    net, match = HERE["model"], HERE["match"]
    with torch.no_grad():
        for name, value in seen[1].items():
            part, _, rest = name.partition(".")
            HERE[part].get_parameter(rest).copy_(value)
    older = TASK.load_model(teacher, data, 0).eval()
    items = HERE["items"].student
    net.train()
    n = len(items.ids)

    def states(model: Any) -> Any:
        given = model.encoder.net(input_ids=items.ids, attention_mask=items.mask, output_hidden_states=True)
        pooled = (given.hidden_states[-1] * items.mask[..., None]).sum(1) / items.mask.sum(1, keepdim=True)
        return given.hidden_states, model.head.linear(pooled)

    mine, logits = states(net)
    with torch.no_grad():
        theirs, answers = states(older)
    prediction = -sum((answers[b] / 2).softmax(0) @ (logits[b] / 2).log_softmax(0) for b in range(n)) / n
    hard = -sum(logits[b].log_softmax(0)[int(items.targets[b].argmax())] for b in range(n)) / n
    fixed = {"skip": [(0, 0), (1, 2), (2, 4)], "last": [(0, 2), (1, 3), (2, 4)]}
    pairs = fixed.get(mapping, [(0, 0), *((i, j) for i in (1, 2) for j in (1, 2, 3, 4))])

    def pair(i: int, j: int) -> torch.Tensor:
        s, t = mine[i], theirs[j]
        if loss == "mi":
            critic = match.critics["all" if mapping != "emd" else f"{i}-{j}"]
            scores = torch.stack(
                [
                    torch.stack([critic.student(s[a, 0]) @ critic.teacher(t[b, 0]) for b in range(n)])
                    for a in range(n)
                ]
            )
            return -interpolated_bound(
                scores, torch.stack([critic.baseline(t[b, 0])[0] for b in range(n)]), 0.4
            ).mean()
        projected = match.projections[str(i)](s)
        if loss == "pkd":
            one, other = (torch.nn.functional.normalize(x[:, 0], dim=1) for x in (projected, t))
            return ((one - other) ** 2).sum(1).mean()
        terms = []
        for b in range(n):
            for token in range(int(items.mask[b].sum())):
                u, v = projected[b, token], t[b, token]
                terms.append(((u - v) ** 2).mean() if loss == "mse" else 1 - u @ v / (u.norm() * v.norm()))
        return torch.stack(terms).mean()

    values = {p: pair(*p) for p in pairs}
    if mapping == "emd":
        cost = torch.stack([values[p] for p in pairs[1:]]).reshape(2, 4)
        between = values[0, 0] + (transport_plan(cost) * cost).sum()
    else:
        between = sum(values.values())
    expected = prediction + 0.3 * between + 0.5 * hard
    torch.testing.assert_close(seen[0][0], expected.detach(), rtol=1e-4, atol=1e-5)
    leaves = [*net.parameters(), *match.parameters()]
    for one, other in zip(seen[0][1], torch.autograd.grad(expected, leaves, allow_unused=True), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-5)


def test_mixtures_are_of_embeddings_and_the_teacher_answers_them(
    tmp_path: Path, data: Texts, teacher: str
) -> None:
    from counterpoint.models.text.encoder import coded
    from counterpoint.phases.distillation.text_rows import Both, mixed_rows
    from counterpoint.training.batches import Batch, ItemRandom

    net, older = with_linear_head(student(data), data.classes, False, 1), TASK.load_model(teacher, data, 0)
    both = Both(
        *(coded(each, data.train.texts, data.train.targets, data.train.labelled) for each in (net, older))
    )
    index = torch.tensor([3, 0, 7])
    random = ItemRandom(1, 3, slice(0, 3), torch.device("cpu"))
    again = ItemRandom(1, 3, slice(0, 3), torch.device("cpu")).uniform(2)
    batch = Batch(both[index], index, 3, 0, random, 0, 0)
    mine, _, (embedded, theirs) = mixed_rows(net, older, batch, both)
    assert len(mine.ids) == 6
    assert torch.equal(mine.mask[:3], mine.mask[3:])
    from scipy.stats import beta

    for row in range(3):
        partner = int(again[row, 0] * len(both))
        share = float(beta.ppf(float(again[row, 1]), 0.4, 0.4))
        length = embedded.shape[1]
        pair = [
            torch.nn.functional.pad(both.student.ids[i], (0, length))[:length]
            for i in (int(index[row]), partner)
        ]
        for model, found in ((net, embedded), (older, theirs)):
            own, other = (model.embed(ids[None])[0] for ids in pair)
            torch.testing.assert_close(found[row], own)
            torch.testing.assert_close(found[3 + row], share * own + (1 - share) * other)
    assert not theirs.requires_grad


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [2, 6])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, data: Texts, at: int) -> None:
    class Dying(Run):
        def step(self, losses: Any, **options: Any) -> float:
            if self.cursor.spent["steps"] == at:
                raise Killed
            return super().step(losses, **options)

    encoder = fresh_transformer(vocabulary(data.train.texts), layers=3, width=16, heads=2, seed=5)
    encoder.save_pretrained(tmp_path / "encoder")
    settings = {"mapping": "emd", "augment.mixup": True, "augment.swap": True, "steps": 8}
    whole = fit(tmp_path / "whole", data, str(tmp_path / "encoder"), options={"audit": True}, **settings)
    with pytest.raises(Killed):
        fit(
            tmp_path / "cut",
            data,
            str(tmp_path / "encoder"),
            run_class=Dying,
            options={"checkpoint_steps": 1},
            **settings,
        )
    again = fit(tmp_path / "cut", data, str(tmp_path / "encoder"), **settings)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("loss", ["mi", "ce"])
def test_micro_batches_change_nothing(tmp_path: Path, data: Texts, teacher: str, loss: str) -> None:
    settings = {"loss": loss, "augment.mixup": True}
    nets = []
    for number, options in enumerate(({}, {"micro_batch_size": 3})):
        net = with_linear_head(student(data), data.classes, False, 1, dropout=0.0)
        nets.append(
            fit(tmp_path / str(number), data, teacher, model=net, options=options, steps=3, **settings)
        )
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=2e-5)


def test_a_fine_tuned_teacher_helps_a_student_that_is_saved_for_transformers(
    tmp_path: Path, data: Texts
) -> None:
    encoder = fresh_transformer(vocabulary(data.train.texts), layers=4, width=32, heads=2, seed=5)
    encoder.save_pretrained(tmp_path / "encoder")
    net = fit(
        tmp_path / "run", data, str(tmp_path / "encoder"), steps=160, loss="mse", model=shortened(encoder, 2)
    )
    TASK.save_model(net, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert TASK.evaluate(again, data, "test")["macro_ap"] > 0.7
    plain = transformers.AutoModel.from_pretrained(tmp_path / "model", local_files_only=True)
    assert plain.config.num_hidden_layers == 2
    tokens = again.tokenize(data.test.texts[:3])
    states = plain.eval()(tokens.ids, tokens.mask).last_hidden_state
    torch.testing.assert_close(again.eval()(tokens.ids, tokens.mask, out="tokens"), states)
    figures = (
        json.loads((tmp_path / "run" / "figures.json").read_text())
        if (tmp_path / "run" / "figures.json").exists()
        else None
    )
    assert figures is None or figures["student_million_weights"] < figures["teacher_million_weights"]


def test_a_teacher_that_is_a_classifier_is_left_as_it_is(tmp_path: Path, data: Texts, teacher: str) -> None:
    before = {p.name: p.read_bytes() for p in Path(teacher).rglob("*") if p.is_file()}
    fit(tmp_path / "run", data, teacher)
    assert {p.name: p.read_bytes() for p in Path(teacher).rglob("*") if p.is_file()} == before
    first = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[0])
    assert {"loss/prediction", "loss/intermediate"} <= set(first)


def test_labels_that_training_may_not_see_count_for_nothing(
    tmp_path: Path, data: Texts, teacher: str
) -> None:
    hidden = torch.arange(len(data.train)) % 3 == 0
    shown = replace(data.train, labelled=hidden, targets=data.train.targets & hidden[:, None])
    wrong = replace(shown, targets=torch.where(hidden[:, None], shown.targets, data.train.targets.roll(1, 1)))
    settings = {"weights.hard": 1.0, "weights.prediction": 0.0, "loss": "none", "steps": 3}
    nets = [
        fit(tmp_path / name, replace(data, train=part), teacher, model=quiet_head(data), **settings)
        for name, part in (("shown", shown), ("wrong", wrong))
    ]
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


def test_layers_are_chosen_evenly_and_the_last_is_among_them(data: Texts) -> None:
    encoder = fresh_transformer(vocabulary(data.train.texts), layers=6, width=16, heads=2)
    short = shortened(encoder, 2)
    assert len(encoder.net.encoder.layer) == 6
    for layer, origin in zip(short.net.encoder.layer, (2, 5), strict=True):
        own, other = (part.attention.self.query.weight for part in (layer, encoder.net.encoder.layer[origin]))
        assert torch.equal(own, other)
    tokens = encoder.tokenize(["tea rain"])
    layers = short.eval()(tokens.ids, tokens.mask, out="layers")
    assert layers.shape == (1, 3, 4, 16)
    torch.testing.assert_close(layers[:, -1], short(tokens.ids, tokens.mask, out="tokens"))
    with pytest.raises(CounterpointError, match="from 1 to 6"):
        shortened(encoder, 7)


def test_a_folder_with_a_number_opens_so_many_layers(tmp_path: Path, data: Texts) -> None:
    fresh_transformer(vocabulary(data.train.texts), layers=4, width=16, heads=2).save_pretrained(
        tmp_path / "four"
    )
    assert TASK.load_model(f"{tmp_path / 'four'}:2", data, 0).config.num_hidden_layers == 2


def test_words_change_places_and_none_is_lost() -> None:
    texts = ["one two three four five six", "", "alone"]
    again = swapped(texts, 0.5, torch.Generator().manual_seed(0))
    assert [sorted(t.split()) for t in again] == [sorted(t.split()) for t in texts]
    assert again[0] != texts[0]
    assert swapped(texts, 0.0, torch.Generator()) == texts


def test_a_masked_model_rewords_a_share_of_the_tokens(tmp_path: Path) -> None:
    words = ["tea", "rain", "stone", "song", "cup", "drum"]
    tokenizer = word_tokenizer(words)
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "masked")
    tokenizer.save_pretrained(tmp_path / "masked")
    texts = ["tea rain stone song cup drum"] * 200
    again = reworded(texts, tmp_path / "masked", 0.3, torch.Generator().manual_seed(0), top_p=1.0)
    pairs = [
        (a, b)
        for one, other in zip(texts, again, strict=True)
        for a, b in zip(one.split(), other.split(), strict=True)
    ]
    changed = sum(a != b for a, b in pairs) / len(pairs)
    assert changed == pytest.approx(0.3 * 5 / 6, abs=0.05)  # one draw in six gives the same word
    assert reworded(texts[:2], tmp_path / "masked", 0.0, torch.Generator()) == texts[:2]
    logits = torch.tensor([[2.0, 1.9, 0.0]]).expand(500, 3)
    drawn = nucleus(logits, 0.8, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {0, 1}
    with pytest.raises(CounterpointError, match="AutoModelForSeq2SeqLM"):
        back_translated(texts[:1], tmp_path / "masked", tmp_path / "masked")


def test_two_translators_write_texts_anew(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(["tea", "rain"])
    config = transformers.T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0, eos_token_id=3, pad_token_id=0)  # fmt: skip
    for name in ("there", "back"):
        transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    once = back_translated(["tea rain", "rain"], tmp_path / "there", tmp_path / "back")
    assert len(once) == 2
    assert once == back_translated(["tea rain", "rain"], tmp_path / "there", tmp_path / "back")


def test_other_tokens_allow_the_first_token_alone(tmp_path: Path, data: Texts, teacher: str) -> None:
    strange = quiet(
        fresh_transformer(sorted(vocabulary(data.train.texts), reverse=True)[:9], layers=2, width=8, heads=2)
    )
    for loss in ("mse", "ce", "cosine"):
        with pytest.raises(CounterpointError, match="pkd or mi"):
            fit(tmp_path / loss, data, teacher, model=strange, loss=loss)
    for loss in ("pkd", "mi", "none"):
        fit(tmp_path / loss, data, teacher, model=strange, loss=loss, steps=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 1.5}, "from 0 to 1"),
        ({"temperature": 0.0}, "above 0"),
        ({"loss": "mui"}, "mi"),
        ({"augment.back_translation": ("one",)}, "two translators"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(CounterpointError, match=words):
        load("distiller").settings(**settings)


def test_what_does_not_fit_the_data_is_refused(tmp_path: Path, data: Texts, teacher: str) -> None:
    with pytest.raises(CounterpointError, match="no layers to compare"):
        fit(tmp_path / "a", data, teacher, model=TASK.load_model("words", data, 0))
    other = load_texts(
        write_csv(tmp_path / "other.csv", [{"text": f"word {n}", "label": "ab"[n % 2]} for n in range(40)])
    )
    with pytest.raises(CounterpointError, match="the teacher in"):
        fit(tmp_path / "b", other, teacher, model=student(data))
    with pytest.raises(CounterpointError, match="prediction=mse"):
        fit(tmp_path / "c", replace(data, multi_label=True), teacher)
    fresh_transformer(vocabulary(data.train.texts), layers=2, width=16, heads=2).save_pretrained(
        tmp_path / "encoder"
    )
    bare = replace(data, train=replace(data.train, labelled=torch.zeros_like(data.train.labelled)))
    with pytest.raises(CounterpointError, match="no labelled training texts"):
        fit(tmp_path / "d", bare, str(tmp_path / "encoder"))
    deep = quiet(fresh_transformer(vocabulary(data.train.texts), layers=5, width=8, heads=2))
    with pytest.raises(CounterpointError, match="no more than the teacher's"):
        fit(tmp_path / "e", data, teacher, model=deep)


def test_pieces_of_two_processes_are_the_whole(data: Texts) -> None:
    g = torch.Generator().manual_seed(0)
    mine, theirs = torch.randn(6, 3, 2, 4, generator=g), torch.randn(6, 5, 2, 7, generator=g)
    mask = torch.ones(6, 2, dtype=torch.long)
    match = LayerMatch("mi", "skip", (2, 4), (4, 7), hidden=8, out=3)
    whole = match(mine, theirs, mask, Alone()).values

    class Two(Alone):
        world = 2

        def gather_constant(self, rows: torch.Tensor) -> torch.Tensor:
            # every pair's teachers, which each process would send
            return next(theirs[:, j, 0] for _, j in match.pairs if torch.equal(rows, theirs[where, j, 0]))

    parts = []
    for where, offset in ((slice(0, 2), 0), (slice(2, 6), 2)):
        parts.append(match(mine[where], theirs[where], mask[where], Two(), offset).values)
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_case_tunes_every_arm_alike_and_its_teacher_has_seen_no_test_text() -> None:
    from counterpoint import api
    from counterpoint.data.text import sets
    from counterpoint.tasks.stock import topic_reader

    case, plan = api.reproduction("distiller")
    rates = {tuple(entry.tune[name]) for entry in plan.entries for name in entry.tune}
    assert len(rates) == 1
    assert all(len(entry.tune) == 1 for entry in plan.entries)
    assert dict(case.data_options) == topic_reader.DATA_OPTIONS
    data = sets.load(topic_reader.DATA, **topic_reader.DATA_OPTIONS)
    assert not set(data.train.texts) & set(data.test.texts)
