"""What is key in an answer, behind one interface: ``extractor(prompt, answer) -> phrases`` with scores.

Candidates are runs of words between stop-words and punctuation. RAKE (Rose et al., 2010) scores a word by degree over frequency and a
phrase by the sum over its words; TF-IDF by how much the words are this answer's own; likelihood by how much less likely the rest of the
answer becomes, per token, when the phrase is not there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from counterpoint.conversation import Completion, Prompt, text_of
from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import sequence_log_probs
from counterpoint.pairs.key_content import WORD, Phrase, random_spans, tidy

Extractor = Callable[[Prompt, str], list[Phrase]]


def stop_words(file: str = "") -> frozenset[str]:
    """Words that are never key: scikit-learn's English ones, or those of a file, one a line.

    Raises:
        CounterpointError: no such file, or one without a word.
    """
    if not file:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return frozenset(ENGLISH_STOP_WORDS)
    path = Path(file)
    words = path.read_text(encoding="utf-8").split() if path.is_file() else []
    if not words:
        raise CounterpointError(
            f"stop_words={file}: expected a file with words that are never key, one a line; leave it empty for English"
        )
    return frozenset(word.casefold() for word in words)


def candidates(text: str, stops: frozenset[str]) -> list[list[tuple[str, int, int]]]:
    """Runs of (word, start, end) that hold no stop-word and no punctuation, in order.

    >>> [[word for word, *_ in run] for run in candidates("it is a red fox, and a dog", stop_words())]
    [['red', 'fox'], ['dog']]
    """
    runs: list[list[tuple[str, int, int]]] = [[]]
    end = 0
    for match in WORD.finditer(text):
        between = text[end : match.start()]
        word, end = match[0].casefold(), match.end()
        if between.strip() or "\n" in between:
            runs.append([])
        if word in stops:
            runs.append([])
        else:
            runs[-1].append((word, *match.span()))
    return [run for run in runs if run]


class Rake:
    """Rapid automatic keyword extraction from one answer alone.

    >>> [round(p.score, 2) for p in Rake(stop_words())("", "a red fox and a red")]
    [3.5, 1.5]
    """

    def __init__(self, stops: frozenset[str]) -> None:
        self.stops = stops

    def __call__(self, prompt: Prompt, answer: str) -> list[Phrase]:
        """The phrases of an answer."""
        runs = candidates(answer, self.stops)
        frequency = Counter(word for run in runs for word, *_ in run)
        reach: Counter[str] = Counter()
        for run in runs:
            for word, *_ in run:
                reach[word] += len(run)
        return [_phrase(run, sum(reach[word] / frequency[word] for word, *_ in run)) for run in runs]


class TfIdf:
    """Words that are frequent in an answer and rare in the others.

    Args:
        answers: all answers of the training data. stops: words that are never key.
    """

    def __init__(self, answers: Iterable[str], stops: frozenset[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.stops = stops
        self.vectorizer = TfidfVectorizer(token_pattern=WORD.pattern, norm=None)
        self.vectorizer.fit(answers)

    def __call__(self, prompt: Prompt, answer: str) -> list[Phrase]:
        """The phrases of an answer."""
        row = self.vectorizer.transform([answer])
        names = self.vectorizer.get_feature_names_out()
        weights = {str(names[column]): float(value) for column, value in zip(row.indices, row.data)}
        runs = candidates(answer, self.stops)
        return [_phrase(run, sum(weights.get(word, 0.0) for word, *_ in run)) for run in runs]


class Likelihood:
    """What the rest of the answer depends on: the drop of a model's mean log-probability a token without the phrase.

    Args:
        model: whose likelihood, the policy before it is trained. stops: words that are never key.
    """

    def __init__(self, model: Language, stops: frozenset[str]) -> None:
        self.model, self.stops = model, stops

    def __call__(self, prompt: Prompt, answer: str) -> list[Phrase]:
        """The phrases of an answer; one that is the whole of it has the lowest score."""
        runs = candidates(answer, self.stops)
        spans = [(run[0][1], run[-1][2]) for run in runs]
        shortened = [tidy(answer[:start] + answer[end:]) for start, end in spans]
        texts: list[Completion] = [answer, *(text for text in shortened if text.strip())]
        sums, lengths = sequence_log_probs(self.model, [prompt] * len(texts), texts)
        means = (sums / lengths.clamp(min=1)).tolist()
        rest = iter(means[1:])
        drops = [means[0] - next(rest) if text.strip() else -float("inf") for text in shortened]
        return [_phrase(run, drop) for run, drop in zip(runs, drops, strict=True)]


class Random:
    """The control: as many spans as another extractor finds, of as many words, anywhere.

    Args:
        like: the extractor. seed: of the spans.
    """

    def __init__(self, like: Extractor, seed: int) -> None:
        self.like, self.seed = like, seed

    def __call__(self, prompt: Prompt, answer: str) -> list[Phrase]:
        """The spans of an answer, the same whenever it is given."""
        draw = random.Random(f"{self.seed}/{answer}")
        return random_spans(answer, self.like(prompt, answer), draw)


def extractor(
    name: str, stops: frozenset[str], answers: Sequence[Completion], model: Language, seed: int
) -> Extractor:
    """The extractor of a setting: "rake", "tfidf", "likelihood" or "random".

    Args:
        name: which. stops: words that are never key. answers: of the training data. model: the policy before training.
        seed: of random spans.
    """
    made: dict[str, Callable[[], Extractor]] = {
        "rake": lambda: Rake(stops),
        "tfidf": lambda: TfIdf(map(text_of, answers), stops),
        "likelihood": lambda: Likelihood(model, stops),
        "random": lambda: Random(Rake(stops), seed),
    }
    return made[name]()


def _phrase(run: Sequence[tuple[str, int, int]], score: float) -> Phrase:
    return Phrase(run[0][1], run[-1][2], score)
