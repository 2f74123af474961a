"""Text encoders: the interface they share, folders they are saved in, labels read as texts."""

import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.text import folder as text_folder
from counterpoint.models.text.encoder import LinearHead, TextClassifier, TextEncoder, coded, with_linear_head
from counterpoint.models.text.match_head import MatchHead, fresh_match_head, label_words
from counterpoint.models.text.tfidf import fit_tfidf
from counterpoint.models.text.transformer import fresh_transformer
from counterpoint.models.text.words import WordEncoder, vocabulary
from texts_made_up import rows

TEXTS = [row["text"] for row in rows(60)]
WORDS = vocabulary(TEXTS)


def encoders() -> dict[str, torch.nn.Module]:
    return {
        "words": text_folder.fresh_words(WORDS, 0, 0, width=6, features=8),
        "words:3": text_folder.fresh_words(WORDS, 3, 0, width=6, features=8),
        "transformer": fresh_transformer(WORDS, layers=1, width=8, heads=2, limit=32),
    }


def lacking(encoder) -> list[str]:
    """What of the interface an encoder has not; buffers count, which isinstance does not see from Python 3.12 on."""
    methods = [
        name for name in vars(TextEncoder) if name in ("tokenize", "embed", "vectors", "pool", "__call__")
    ]
    assert len(methods) == 5
    return [name for name in (*TextEncoder.__annotations__, *methods) if not hasattr(encoder, name)]


@pytest.mark.parametrize("name", ["words", "words:3", "transformer"])
def test_the_interface(name):
    encoder = encoders()[name]
    assert lacking(encoder) == []
    tokens = encoder.tokenize([TEXTS[0], "tea", "", "zzz qqq"])
    ids, mask = tokens.ids, tokens.mask
    states, sentences = encoder(ids, mask, out="tokens"), encoder(ids, mask)
    assert states.shape == (*ids.shape, encoder.state_width)
    assert sentences.shape == (4, encoder.num_features)
    assert encoder.embed(ids).shape == encoder.vectors(ids).shape == (*ids.shape, encoder.width)
    assert encoder.words.shape == (encoder.vocabulary_size,)
    assert not encoder.words[encoder.pad_id]
    assert torch.isfinite(sentences).all()
    encoder.eval()
    states, sentences = encoder(ids, mask, out="tokens"), encoder(ids, mask)
    torch.testing.assert_close(encoder.pool(states, mask), sentences)
    torch.testing.assert_close(encoder(ids, mask, embedded=encoder.embed(ids)), sentences)
    moved = encoder(ids, mask, embedded=encoder.embed(ids) + 0.5 * torch.randn(encoder.width))
    assert not torch.allclose(moved[0], sentences[0])
    wide = (
        torch.cat([ids, torch.full((4, 3), encoder.pad_id)], 1),
        torch.cat([mask, torch.zeros(4, 3).long()], 1),
    )
    torch.testing.assert_close(encoder(*wide), sentences)  # padding changes nothing
    with pytest.raises(CounterpointError, match="TextClassifier"):
        encoder(ids, mask, out="logits")


@pytest.mark.parametrize("name", ["words", "words:3", "transformer"])
def test_two_passes_in_training_differ_and_gradient_reaches_the_embeddings(name):
    encoder = encoders()[name].train()
    tokens = encoder.tokenize(TEXTS[:4])
    torch.manual_seed(0)
    assert not torch.equal(encoder(tokens.ids, tokens.mask), encoder(tokens.ids, tokens.mask))
    embedded = encoder.embed(tokens.ids).detach().requires_grad_()
    encoder(tokens.ids, tokens.mask, embedded=embedded).sum().backward()
    assert (embedded.grad.abs().sum((1, 2)) > 0).all()
    assert not embedded.grad[tokens.mask == 0].any()


@pytest.mark.parametrize("name", ["words", "words:3", "transformer"])
@pytest.mark.parametrize("head", ["none", "linear", "match"])
def test_folders(tmp_path, capsys, name, head):
    encoder = encoders()[name]
    model = encoder
    if head == "linear":
        model = with_linear_head(encoder, ["tea", "rain"], False, 0)
    if head == "match":
        names = ["tea", "old_stones"]
        model = TextClassifier(encoder, fresh_match_head(encoder, names, ["tea", "old stones"], True, 0))
        model.head.seen.fill_(True)
    model.eval()
    text_folder.save(model, tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.bin")) + list((tmp_path / "model").rglob("*.pt"))
    capsys.readouterr()
    again = text_folder.load(tmp_path / "model").eval()
    assert capsys.readouterr().out == ""
    for one, other in ((model, again), (again, model)):
        tokens = one.tokenize(TEXTS[:5])
        out = "sentence" if head == "none" else "logits"
        torch.testing.assert_close(
            one(tokens.ids, tokens.mask, out=out), other(tokens.ids, tokens.mask, out=out)
        )
    if head == "match":
        assert (again.classes, again.multi_label, again.head.zero_shot) == (
            ("tea", "old_stones"),
            True,
            False,
        )


def test_a_classifier_is_an_encoder():
    model = with_linear_head(encoders()["words"], ["a", "b", "c"], False, 0)
    assert lacking(model) == []
    assert with_linear_head(model, ["a", "b", "c"], False, 1) is model
    assert with_linear_head(model, ["a", "d"], False, 1).encoder is model.encoder
    assert isinstance(model.head, LinearHead)
    with pytest.raises(AttributeError):
        _ = model.nothing_of_this_name
    with pytest.raises(CounterpointError, match="at least two"):
        with_linear_head(model.encoder, ["a"], False, 0)


def test_coded_rows_are_cut_to_the_longest():
    encoder = encoders()["words"]
    rows_ = coded(encoder, ["tea", "tea cup pot leaf", ""], torch.eye(3), torch.ones(3).bool())
    few = rows_[torch.tensor([0, 2])]
    assert few.ids.shape == (2, 1)
    assert few.targets.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert rows_[torch.tensor([1])].ids.shape == (1, 4)


def test_labels_are_read_as_their_words():
    encoder = encoders()["words"]
    found = label_words(encoder, ["tea", "old stones", "zzz"])
    assert [[encoder.vocabulary[i - 3] for i in ids] for ids in found] == [["tea"], ["old", "stones"], []]
    head = fresh_match_head(encoder, ["tea", "old", "zzz"], ["tea", "old stones", "zzz"], False, 0)
    logits = head(torch.randn(5, 8), encoder)
    assert logits.shape == (5, 3)
    other = head.renamed(encoder, ["x", "tea"], ["old stones", "tea"], False)
    sentences = torch.randn(5, 8)
    torch.testing.assert_close(other(sentences, encoder), head(sentences, encoder)[:, [1, 0]])
    head.seen.fill_(True)
    assert head.renamed(encoder, ["x", "tea"], ["old stones", "tea"], False).zero_shot
    assert MatchHead(8, 6)(sentences, encoder).shape == (5, 0)


def test_names_are_in_the_vocabulary_however_common_or_rare():
    texts = ["people speak", "people sing", "people hum tao", "speak sing hum"]
    assert vocabulary(texts, least=2, drop=0.25) == ["hum", "sing", "speak"]
    assert vocabulary(texts, least=2, drop=0.25, keep=["people of tao", "hum"]) == [
        "hum", "sing", "speak", "people", "of", "tao",
    ]  # fmt: skip


def test_weighted_words_against_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    from counterpoint.models.text.words import split

    model = fit_tfidf(TEXTS, least=2)
    tokens = model.tokenize(TEXTS[:7])
    theirs = TfidfVectorizer(analyzer=split, sublinear_tf=True, min_df=2).fit(TEXTS)
    expected = theirs.transform(TEXTS[:7]).toarray()[:, [theirs.vocabulary_[w] for w in model.vocabulary]]
    torch.testing.assert_close(
        model(tokens.ids, tokens.mask), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(CounterpointError, match="no token states"):
        model(tokens.ids, tokens.mask, out="tokens")


@pytest.mark.parametrize(
    ("call", "lesson"),
    [
        (lambda: vocabulary(["one two", "three"], least=2), "no word occurs in 2 texts"),
        (lambda: WordEncoder(WORDS, kernel=2), "odd number"),
    ],
)
def test_wrong_input_teaches(call, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        call()


def test_foreign_folders_teach(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CounterpointError, match="text encoder with its tokenizer"):
        text_folder.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-tiny", "minilm-l6"])
def test_bundled_encoders(name, tmp_path):
    from counterpoint.models.text.transformer import open_transformer

    encoder = open_transformer(name).eval()
    tokens = encoder.tokenize(["A cup of tea", "Tea in a cup", "The storm broke the tower"])
    vectors = torch.nn.functional.normalize(encoder(tokens.ids, tokens.mask), dim=1)
    near = vectors @ vectors.T
    assert near[0, 1] > near[0, 2]
    n = torch.nn.functional.layer_norm(encoder.embed(tokens.ids), (encoder.width,), eps=1e-7)
    again = encoder(tokens.ids, tokens.mask, embedded=n)  # the first normalisation undoes a change of scale
    torch.testing.assert_close(torch.nn.functional.normalize(again, dim=1), vectors, rtol=1e-3, atol=1e-4)
    assert 5_000 < int(encoder.words.sum()) < encoder.vocabulary_size
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(
        open_transformer(tmp_path).eval()(tokens.ids, tokens.mask), encoder(tokens.ids, tokens.mask)
    )


def test_a_saved_tokenizer_is_without_the_padding_of_the_call_before(tmp_path):
    import json

    from counterpoint.models.text.transformer import fresh_transformer

    model = fresh_transformer(["one", "two"], layers=1, width=8, heads=1)
    model.tokenize(["one two", "one"])
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    assert written["padding"] is None
    assert written["truncation"] is None
    import tokenizers

    assert len(tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("one").ids) == 3
