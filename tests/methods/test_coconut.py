"""COCONUT: stages, memory and teacher do what they say; runs resume, save ordinary folders, and refuse what cannot work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoint.data.audio.load import Audio, Clips
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.understanding import stage_figures, understand, word_errors
from counterpoint.generation.beam import beam_search
from counterpoint.methods.coconut import Coconut
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.audio.lexicon import END, Lexicon
from counterpoint.models.audio.prepare import speech_classifier
from counterpoint.models.audio.projections import ProjectedStudent
from counterpoint.models.audio.understanding import Understanding, with_head
from counterpoint.pairs.rehearsal import Mixed, targets
from counterpoint.tasks.audio import TASK
from counterpoint.training import Budget, Run
from counterpoint.training.report import Report

RATE = 2000
WORDS = ["please dial one", "hang up now", "next message please", "good bye", "one moment please", "hold"]
SMALL = {
    "tasks": 3,
    "batch_size": 8,
    "memory": 6,
    "memory.replay_share": 0.4,
    "learning_rate": 2e-3,
    "distillation.beams": 2,
}
FORMS = {
    "plain": {},
    "everything": {
        "distillation": "tokens+sequence+audio",
        "multimodal": "all",
        "memory.selection": "herding",
    },
    "ntpt": {"contrast": "ntpt", "memory.selection": "nearest"},
    "student": {"contrast": "student"},
    "classes": {"head": "classifier", "distillation": "classes"},
    "classes and audio": {"head": "classifier", "distillation": "classes + audio"},
    "replayed classes": {"distillation": "replayed-classes"},
    "replayed classes and audio": {"head": "classifier", "distillation": "replayed-classes+audio"},
    "replay": {"contrast_weight": 0.0, "multimodal_weight": 0.0},
    "fine-tuning": {"memory": 0},
    "joint": {"tasks": 1},
}


def clips(per_class: int, seed: int, texts: bool = True) -> Clips:
    draw = np.random.default_rng(seed)
    waves, labels, said = [], [], []
    for label in range(6):
        for number in range(per_class):
            time = np.arange(int(draw.integers(300, 600))) / RATE
            # The encoder takes off each band's mean, so a class's tone must come and go.
            tone = np.sin(2 * np.pi * (100 + 120 * label) * time) * (time < time[-1] / 2)
            wave = tone + 0.01 * draw.normal(size=len(time))
            waves.append((8000 * wave).astype(np.int16))
            labels.append(label)
            said.append(WORDS[label] if texts and number != 1 else "")
    lengths = torch.tensor([len(wave) for wave in waves])
    names = tuple(f"{i}.wav" for i in range(len(waves)))
    return Clips(
        torch.from_numpy(np.concatenate(waves)),
        torch.cumsum(lengths, 0) - lengths,
        lengths,
        torch.tensor(labels),
        ("",) * len(waves),
        tuple(said),
        names,
    )


def audio(texts: bool = True) -> Audio:
    parts = {
        name: clips(n, seed, texts)
        for seed, (name, n) in enumerate({"train": 8, "validation": 2, "test": 4}.items())
    }
    return Audio(**parts, classes=tuple("abcdef"), sample_rate=RATE, seconds=1.0)


@pytest.fixture(scope="module")
def data() -> Audio:
    return audio()


def encoder(seed: int = 0) -> SmallSpeech:
    torch.manual_seed(seed)
    return SmallSpeech(RATE, num_mels=10, widths=(16, 16))


def fit(folder, data, settings, steps=9, run_class=Run, model=None, **options):
    with run_class(folder, seed=1, budget=Budget(steps=steps), progress=False, **options) as run:
        trained = Coconut.settings(**{**SMALL, **settings}).fit(model or encoder(), data, run)
        trained.reported = run.reported
        return trained


def same(one, other) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return one.reported.tables == other.reported.tables and all(torch.equal(x, y) for x, y in pairs)


class Killed(Exception):
    pass


class Dying(Run):
    die_at = 0

    def step(self, losses, **options):
        if self.cursor.spent["steps"] == self.die_at:
            raise Killed
        return super().step(losses, **options)


@pytest.mark.parametrize("form", ["everything", "classes"])
@pytest.mark.parametrize("moment", [2, 4, 8])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, data, form, moment):
    whole = fit(tmp_path / "whole", data, FORMS[form], audit=True)
    dying = type("DyingHere", (Dying,), {"die_at": moment})
    with pytest.raises(Killed):
        fit(tmp_path / "cut", data, FORMS[form], run_class=dying, checkpoint_steps=1)
    assert same(whole, fit(tmp_path / "cut", data, FORMS[form]))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_and_is_measured(tmp_path, data, form):
    model = fit(tmp_path, data, FORMS[form])
    stages = {"joint": 1}.get(form, 3)
    assert [row["stage"] for row in model.reported.rows("stages") if row["split"] == "test"] == list(
        range(1, stages + 1)
    )
    figures = TASK.evaluate(model, data, "test") | TASK.of_training(model.reported, data, "test")
    assert {"average_accuracy", "last_accuracy", "forgetting", "macro_f1"} <= figures.keys()
    assert ("average_wer" in figures) == (FORMS[form].get("head") != "classifier")
    assert figures["last_accuracy"] == pytest.approx(figures["accuracy"])


def test_the_named_terms_are_those_that_are_on(tmp_path, data):
    seen: list[set[str]] = []

    class Watched(Run):
        def step(self, losses, **options):
            seen.append(set(losses))
            return super().step(losses, **options)

    fit(tmp_path / "a", data, FORMS["everything"], run_class=Watched)
    assert seen[0] == {"label", "multimodal"}
    assert seen[-1] == {"label", "multimodal", "contrast", "tokens", "sequence", "audio"}
    seen.clear()
    fit(tmp_path / "b", data, FORMS["replay"], run_class=Watched)
    assert set().union(*seen) == {"label"}


def test_the_teacher_is_the_model_before_the_stage_and_stays_so(tmp_path, data):
    states: list[dict[str, torch.Tensor]] = []

    class Watched(Coconut):
        def _losses(self, student, teacher, batch, tasks, stage, run):
            if batch.step == 0:
                states.append({k: v.clone() for k, v in student.state_dict().items()})
            elif stage:
                assert not teacher.training
                assert not any(p.requires_grad for p in teacher.parameters())
                mine = {
                    name: value
                    for name, value in teacher.state_dict().items()
                    if "keep" in name or "table" in name
                }
                assert mine
                for name, value in mine.items():
                    assert torch.equal(
                        value, states[-1][name.removeprefix("model.")]
                    )  # as the student was when the stage began
            return super()._losses(student, teacher, batch, tasks, stage, run)

    with Run(tmp_path, seed=1, budget=Budget(steps=9), progress=False) as run:
        Watched.settings(**SMALL).fit(encoder(), data, run)
    assert len(states) == 3
    assert not torch.equal(states[0]["keep.weight"], states[2]["keep.weight"])


def test_only_seen_intents_of_the_memory_are_replayed(tmp_path, data):
    batches = []

    class Watched(Coconut):
        def _losses(self, student, teacher, batch, tasks, stage, run):
            batches.append((stage, tasks, batch.items["labels"], batch.items["replayed"]))
            return super()._losses(student, teacher, batch, tasks, stage, run)

    with Run(tmp_path, seed=1, budget=Budget(steps=18), progress=False) as run:
        Watched.settings(**SMALL).fit(encoder(), data, run)
    for stage, tasks, labels, replayed in batches:
        before = {label for part in tasks[:stage] for label in part}
        assert set(labels[replayed].tolist()) <= before
        assert set(labels[~replayed].tolist()) <= set(tasks[stage])
    assert any(bool(replayed.any()) for _, _, _, replayed in batches)


def test_micro_batches_change_nothing(tmp_path, data):
    def start():
        lexicon = Lexicon.of(data.classes, data.train.texts)
        return with_head(encoder(), "decoder", lexicon, dropout=0.0)

    whole = fit(tmp_path / "whole", data, FORMS["everything"], steps=6, model=start())
    parts = fit(tmp_path / "parts", data, FORMS["everything"], steps=6, model=start(), micro_batch_size=3)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_it_learns_and_comes_back_from_its_folder(tmp_path, data):
    model = fit(tmp_path / "run", data, {"tasks": 2, "multimodal_weight": 0.0, "memory": 24}, steps=100)
    figures = TASK.evaluate(model, data, "test")
    stages = TASK.of_training(model.reported, data, "test")
    assert stages["average_accuracy"] > 0.5
    assert stages["average_wer"] < 0.8
    TASK.save_model(model, tmp_path / "model")
    again = TASK.load_model(str(tmp_path / "model"), data, 0)
    assert isinstance(again, Understanding)
    assert TASK.evaluate(again, data, "test") == pytest.approx(figures)
    model.reported.write(tmp_path / "report")
    assert (tmp_path / "report" / "stages.csv").read_text().startswith("split,stage,new,seen")
    assert Report.read(tmp_path / "report").tables == model.reported.tables
    other = Audio(data.train, data.validation, data.test, tuple("abcdeg"), RATE, 1.0)
    with pytest.raises(CounterpointError, match="same classes"):
        TASK.load_model(str(tmp_path / "model"), other, 0)


def test_its_encoder_serves_other_methods_and_theirs_serves_it(tmp_path, data):
    lexicon = Lexicon.of(data.classes, data.train.texts)
    model = with_head(encoder(), "decoder", lexicon)
    classifier = speech_classifier(model, data.classes, seed=0)
    assert classifier.encoder is model.encoder
    assert with_head(classifier, "classifier", lexicon).encoder is model.encoder
    assert with_head(model, "decoder", lexicon) is model
    assert with_head(model, "classifier", lexicon).head is not model.head


def test_padding_changes_nothing(data):
    lexicon = Lexicon.of(data.classes, data.train.texts)
    goals, _ = targets(lexicon, data.train, 64)
    student = ProjectedStudent(with_head(encoder(), "decoder", lexicon), 0).eval()
    source = Mixed(data.train, torch.arange(48), torch.arange(0), goals)
    together = source[torch.tensor([0, 9, 30])]
    out = student(together["waves"], together["lengths"], together["ids"])
    for row, place in enumerate([0, 9, 30]):
        alone = source[torch.tensor([place])]
        one = student(alone["waves"], alone["lengths"], alone["ids"])
        for name in ("projected", "audio", "text"):
            torch.testing.assert_close(one[name][0], out[name][row], rtol=1e-4, atol=1e-5)
        length = int(alone["mask"].sum())
        torch.testing.assert_close(
            one["hidden"][0, :length], out["hidden"][row, :length], rtol=1e-4, atol=1e-5
        )


def test_the_decoder_sees_no_token_before_it_is_said(data):
    lexicon = Lexicon.of(data.classes, data.train.texts)
    head = with_head(encoder(), "decoder", lexicon).eval().head
    pooled, states, mask = torch.randn(1, 16), torch.randn(1, 5, 16), torch.ones(1, 5) > 0
    ids = torch.tensor([lexicon.encode(0, WORDS[0])])
    changed = ids.clone()
    changed[0, 2] = ids[0, 1]
    one, other = head(pooled, states, mask, ids), head(pooled, states, mask, changed)
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3:], other[:, 3:])


def test_text_vectors_leave_the_label_out(data):
    lexicon = Lexicon.of(data.classes, data.train.texts)
    head = with_head(encoder(), "decoder", lexicon).head
    rows = torch.tensor([lexicon.encode(label, "please dial one") for label in (0, 5)])
    vectors = head.text_vectors(rows, torch.ones_like(rows))
    assert torch.equal(vectors[0], vectors[1])


def test_beam_search_is_exhaustive_search_when_the_beam_is_wide():
    torch.manual_seed(0)
    lexicon = Lexicon(["a", "b"], ["yes"], "")
    head = with_head(encoder(), "decoder", lexicon, width=8).eval().head
    with torch.no_grad():
        head.table.weight.mul_(6)
    pooled, states, mask = torch.randn(2, 16), torch.randn(2, 4, 16), torch.ones(2, 4) > 0
    found = beam_search(head, pooled, states, mask, beams=200, limit=3)
    for row in range(2):
        best, name = -np.inf, None
        for first in (lexicon.first_intent, lexicon.first_intent + 1):
            for second in range(2, lexicon.size):
                for third in range(2, lexicon.size) if second != END else [None]:
                    ids = [first, second] + ([] if third is None else [third])
                    memory, last, total = head.first(pooled[row : row + 1]), 1, 0.0
                    for token in ids:
                        log_p, memory = head.step(
                            memory, torch.tensor([last]), states[row : row + 1], mask[row : row + 1]
                        )
                        total, last = total + float(log_p[0, token].detach()), token
                    if total > best:
                        best, name = total, ids
        assert found[row] == name
    greedy = beam_search(head, pooled, states, mask, beams=1, limit=3)
    assert all(lexicon.first_intent <= ids[0] < lexicon.first_word for ids in greedy)


def test_any_text_is_written_and_read_back():
    lexicon = Lexicon.of(["x", "y"], ["dial one", "dial two", "è così"], least=2)
    assert lexicon.words == ("dial",)
    for text in ("dial two one", "così è dial", "two"):
        assert lexicon.decode(lexicon.encode(1, text)) == (1, text)
    assert lexicon.decode(lexicon.encode(0, "dial zq"))[1] == "dial ??"
    assert lexicon.encode(0, "one two dial", limit=4)[-1] == END


def test_kept_clips_are_repeated_to_their_share(data):
    goals, _ = targets(Lexicon.of(data.classes, data.train.texts), data.train, 64)
    new, kept = torch.arange(8), torch.tensor([40, 41])
    source = Mixed(data.train, new, kept, goals, decoded=[[7, END], [8, 8, END]], share=0.4)
    assert len(source) == 8 + 6
    assert int(source.replayed.sum()) >= 0.4 * len(source)
    batch = source[torch.tensor([0, 9, 8])]
    assert batch["replayed"].tolist() == [False, True, True]
    assert batch["decoded"].tolist() == [[0, 0, 0], [8, 8, END], [7, END, 0]]
    assert batch["decoded_mask"].sum(1).tolist() == [0, 3, 2]


def test_forgetting_is_what_was_lost_from_the_best():
    table = [[1.0], [0.8, 0.6], [0.9, 0.2, 0.7]]
    rows = [
        {"split": "test", "stage": t + 1, "accuracy": float(np.mean(row)), "balanced_accuracy": 0.5}
        | {f"task {k + 1}": value for k, value in enumerate(row)}
        for t, row in enumerate(table)
    ]
    found = stage_figures(rows, "test")
    assert found["forgetting"] == pytest.approx(((1.0 - 0.9) + (0.6 - 0.2)) / 2)
    assert found["average_accuracy"] == pytest.approx(np.mean([1.0, 0.7, 0.6]))
    assert found["last_accuracy"] == pytest.approx(0.6)
    assert stage_figures(rows, "validation") == {}


def test_answers_come_from_the_intents_allowed(data):
    model = with_head(encoder(), "classifier", Lexicon.of(data.classes, []))
    assert set(understand(model, data.test, among=[2, 4]).intents.tolist()) <= {2, 4}
    assert model.training
    assert word_errors(["a b", ""], ["a b", "c d"]) == (2, 4)


@pytest.mark.parametrize(
    ("settings", "lesson"),
    [
        ({"tasks": 7}, "from 1 task"),
        ({"memory": 3}, "at least one row per class"),
        ({"memory": 7.5}, "a whole number of clips"),
        ({"distillation": "token"}, "did you mean 'tokens'"),
        ({"distillation": "sequence", "head": "classifier"}, "head=decoder"),
        ({"memory.replay_share": 1.0}, "below 1"),
        ({"longest": 1}, "2 tokens"),
    ],
)
def test_wrong_settings_teach(tmp_path, data, settings, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        fit(tmp_path, data, settings)


def test_clips_without_words(tmp_path):
    mute = audio(texts=False)
    with pytest.raises(CounterpointError, match="no transcripts"):
        fit(tmp_path / "a", mute, {})
    model = fit(tmp_path / "b", mute, {"multimodal_weight": 0.0})
    assert "average_wer" not in TASK.evaluate(model, mute, "test")
    with pytest.raises(CounterpointError, match="has no frames"):
        fit(tmp_path / "c", mute, {"multimodal_weight": 0.0}, model=torch.nn.Linear(2, 2))


def test_a_pretrained_encoder_keeps_its_front(tmp_path, data):
    transformers = pytest.importorskip("transformers")
    from counterpoint.models.audio.pretrained import WaveSpeech

    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )
    torch.manual_seed(0)
    model = WaveSpeech(transformers.Wav2Vec2Model(config), {})
    front = [p.clone() for p in model.net.feature_extractor.parameters()]
    later = [p.clone() for p in model.net.encoder.parameters()]
    trained = fit(tmp_path, data, {"distillation": "audio", "learning_rate": 1e-2}, model=model)
    assert isinstance(trained.encoder, WaveSpeech)
    for one, other in zip(front, trained.encoder.net.feature_extractor.parameters(), strict=True):
        assert torch.equal(one, other)
    assert any(
        not torch.equal(one, other)
        for one, other in zip(later, trained.encoder.net.encoder.parameters(), strict=True)
    )
