"""Tokens of what is understood: one per intent, one per common word, and letters for every other word.

A target reads ``intent, words..., end``. A word outside the vocabulary is spelled: a mark, then its letters. So any text can
be written and read back, in any language, and the sequences stay short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from counterpoint.errors import CounterpointError
from counterpoint.models.text.words import split

PAD, START, END, SPELL, UNKNOWN = range(5)
SPECIAL = ("<pad>", "<start>", "<end>", "<spell>", "<unknown>")


class Lexicon:
    """Ids for intents, words and letters, in this order after the special ones.

    Args:
        intents: names of the C intents, id ``first_intent + c``.
        words: words with a token of their own.
        letters: characters that other words are spelled with; any other character becomes the unknown one.

    >>> lexicon = Lexicon(["dial", "hang up"], ["please"], "abc")
    >>> ids = lexicon.encode(1, "Please, cab!")
    >>> lexicon.decode(ids), len(ids), lexicon.encode(1, "Please, cab!", limit=4) == [*ids[:3], END]
    ((1, 'please cab'), 7, True)
    """

    def __init__(self, intents: Sequence[str], words: Sequence[str], letters: str) -> None:
        self.intents, self.words, self.letters = tuple(intents), tuple(words), letters
        self.first_intent = len(SPECIAL)
        self.first_word = self.first_intent + len(self.intents)
        self.first_letter = self.first_word + len(self.words)
        self.size = self.first_letter + len(letters)
        self._words = {word: number for number, word in enumerate(self.words, self.first_word)}
        self._letters = {letter: number for number, letter in enumerate(letters, self.first_letter)}

    @classmethod
    def of(cls, intents: Sequence[str], texts: Iterable[str], most: int = 1000, least: int = 2) -> Lexicon:
        """Make one from training transcripts: the ``most`` commonest words that occur ``least`` times, and all letters."""
        counts = Counter(word for text in texts for word in split(text))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        words = [word for word, count in ranked if count >= least][:most]
        return cls(intents, words, "".join(sorted({letter for word in counts for letter in word})))

    def encode(self, intent: int, text: str, limit: int | None = None) -> list[int]:
        """Ids of ``intent, words..., end``; of a text above ``limit`` ids the start is kept, its end marked as an end.

        Raises:
            CounterpointError: an intent that is not there, a limit without room for the intent and the end.
        """
        if not 0 <= intent < len(self.intents):
            raise CounterpointError(f"intent {intent}; expected 0 to {len(self.intents) - 1}")
        if limit is not None and limit < 2:
            raise CounterpointError(f"limit={limit}; expected at least 2 tokens, for the intent and the end")
        ids = [self.first_intent + intent]
        for word in split(text):
            number = self._words.get(word)
            spelled = [SPELL, *(self._letters.get(letter, UNKNOWN) for letter in word)]
            ids += spelled if number is None else [number]
        return [*(ids if limit is None else ids[: limit - 1]), END]

    def decode(self, ids: Sequence[int]) -> tuple[int | None, str]:
        """Intent (None when the first id is none) and text of ids up to the first end."""
        intent: int | None = None
        text: list[str] = []
        for position, number in enumerate(ids):
            if number == END:
                break
            if position == 0 and self.first_intent <= number < self.first_word:
                intent = number - self.first_intent
            elif self.first_word <= number < self.first_letter:
                text.append(self.words[number - self.first_word])
            elif number == SPELL or not text:
                text.append("")
            if number >= self.first_letter:
                text[-1] += self.letters[number - self.first_letter]
            elif number == UNKNOWN:
                text[-1] += "?"
        return intent, " ".join(word for word in text if word)
