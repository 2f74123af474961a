"""Measures of text encoders and classifiers without a library's formula to lean on: checked on answers known beforehand."""

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.certainty import answer_change, calibration_error
from counterpoint.evaluation.sentences import halves, sentence_figures, wrong_word_auc
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.words import WordEncoder

TEXTS = tuple(
    " ".join(["tea cup leaf", "sea wave salt", "law court jury"][i % 3].split() * 3) for i in range(30)
)
WORDS = sorted({word for text in TEXTS for word in text.split()})


class Neighbours(torch.nn.Module):
    """Each token's state says whether it belongs to the topic of most of its text: a perfect finder of wrong words."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.blind = blind
        self.names = WordEncoder(WORDS, dropout=0.0)
        topics = [
            next(n for n, t in enumerate(("tea cup leaf", "sea wave salt", "law court jury")) if w in t)
            for w in WORDS
        ]
        self.topic = torch.tensor([-1, -1, -1, *topics])
        self.words = self.names.words

    def tokenize(self, texts):
        return self.names.tokenize(texts)

    def forward(self, ids, mask, out="sentence"):
        topic = self.topic[ids]
        own = torch.stack([(topic == t).sum(1) for t in range(3)], 1).argmax(1)
        state = (topic == own[:, None]).float()[..., None]
        return torch.zeros_like(state) + torch.rand(state.shape) if self.blind else state


def test_wrong_words_are_found_by_states_that_know_them_and_by_no_others() -> None:
    # A replacement within the topic cannot be known: a third of all replacements, of which some are no change.
    assert wrong_word_auc(Neighbours(), TEXTS) > 0.8
    assert wrong_word_auc(Neighbours(blind=True), TEXTS) == pytest.approx(0.5, abs=0.15)
    with pytest.raises(CounterpointError, match="at least 4"):
        wrong_word_auc(Neighbours(), TEXTS[:3])


def test_words_of_one_half_alone_do_not_mislead_the_probe() -> None:
    class Names(Neighbours):
        """Each token's state is its own name, so the probe can go by which words it saw replaced, and by nothing else."""

        def __init__(self, texts: list[str]) -> None:
            super().__init__()
            self.names = WordEncoder([word for text in texts for word in text.split()], dropout=0.0)
            self.words = self.names.words

        def forward(self, ids, mask, out="sentence"):
            return torch.nn.functional.one_hot(ids, len(self.words)).float()

    texts = [" ".join(f"w{row}x{place}" for place in range(8)) for row in range(40)]
    assert wrong_word_auc(Names(texts), texts, share=0.5) == pytest.approx(0.5, abs=0.02)


def test_halves_find_each_other() -> None:
    texts = [f"{w} {w} {w} {w}" for w in WORDS]
    encoder = WordEncoder(WORDS, dropout=0.0)
    assert halves(texts)[0] == [f"{w} {w}" for w in WORDS]
    found = sentence_figures(encoder, texts)
    assert found["retrieval"] == 1.0
    assert found["alignment"] == pytest.approx(0.0, abs=1e-6)
    assert found["uniformity"] < 0


def test_calibration_error_by_hand() -> None:
    # Confidence 0.75 three times, right twice; confidence 0.95 once, wrong: |3*0.75 - 2| + |0.95 - 0| over 4.
    confident = torch.tensor([0.75, 0.75, 0.75, 0.95], dtype=torch.float64)
    logits = torch.stack([confident.log(), (1 - confident).log()], 1)
    error = calibration_error(logits, torch.tensor([0, 0, 1, 1]))
    assert error == pytest.approx((0.25 + 0.95) / 4)
    with pytest.raises(CounterpointError, match="no labelled text"):
        calibration_error(logits[:0], torch.zeros(0, dtype=torch.long))


def test_answers_change_with_noise_alone() -> None:
    model = with_linear_head(WordEncoder(WORDS, dropout=0.0), ("a", "b"), False, 0).train()
    assert answer_change(model, TEXTS, std=0.0) == pytest.approx(0.0, abs=1e-6)
    little, much = (answer_change(model, TEXTS, std=std) for std in (0.1, 3.0))
    assert 0 < little < much <= 1
    assert answer_change(model, TEXTS, std=0.1) == little  # the same noise every time
    assert model.training
