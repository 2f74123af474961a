"""A model folder says in its config.json what opens it; folders from before there was such a statement still open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.models import folders
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.models.audio.lexicon import Lexicon
from counterpoint.models.audio.understanding import with_head
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.counts import CountedModel
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.models.images.classifier import Classified, fresh_heads
from counterpoint.models.images.encoders import SmallConv
from counterpoint.models.images.folder import FOLDERS as IMAGES
from counterpoint.models.images.paired import paired
from counterpoint.models.images.projector import projected
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.models.language import characters
from counterpoint.models.regression.tabular import Predictor, TableEncoder
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.folder import fresh_words
from counterpoint.models.trajectories.encoder import TrajectoryEncoder

WORDS = ["tea", "cup", "sea", "boat"]


def recommender() -> Recommender:
    model = Recommender(2, 3, dimension=4)
    model.user_ids, model.item_ids = ["a", "b"], ["x", "y", "z"]
    return model


MODELS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "an image encoder": ("images", SmallConv),
    "with a projector": ("images", lambda: projected(SmallConv())),
    "two towers": ("images", lambda: paired(SmallConv(), 4, dim=8)),
    "with heads": (
        "images",
        lambda: Classified(SmallConv(), fresh_heads(256, ["a", "b"], "", 1, ["plain"], 0)),
    ),
    "a speech encoder": ("audio", lambda: SmallSpeech(8000)),
    "with classes": ("audio", lambda: SpeechClassifier.fresh(SmallSpeech(8000), ["a", "b"], 0)),
    "with intents": (
        "audio",
        lambda: with_head(SmallSpeech(8000), "decoder", Lexicon(["a", "b"], ["c"], "abc")),
    ),
    "words": ("text", lambda: fresh_words(WORDS, 0, 0, width=4, features=4)),
    "a text classifier": (
        "text",
        lambda: with_linear_head(fresh_words(WORDS, 0, 0, width=4, features=4), ["a", "b"], False, 0),
    ),
    "rows": ("regression", lambda: TableEncoder(["a"], [0.0], [1.0])),
    "numbers of rows": (
        "regression",
        lambda: Predictor(TableEncoder(["a"], [0.0], [1.0]), 1.0, 2.0, (3.0, 4.0)),
    ),
    "numbers of images": ("regression", lambda: Predictor(SmallConv())),
    "trajectories": ("trajectories", lambda: TrajectoryEncoder(5, 3)),
    "action values": ("environment", lambda: CategoricalQ(3, 2, hidden=8, latent=4)),
    "factors": ("environment", lambda: LowRankModel(3, 2, 4)),
    "counts": ("environment", lambda: CountedModel(3, 2, 4)),
    "a recommender": ("interactions", recommender),
}


def equal(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return (
        type(one) is type(other)
        and left.keys() == right.keys()
        and all(left[n].equal(right[n]) for n in left)
    )


def rewrite(folder: Path, **changes: str | None) -> None:
    file = folder / "config.json"
    content = json.loads(file.read_text())
    content |= changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_says_what_opens_it(tmp_path: Path, name: str) -> None:
    kind, make = MODELS[name]
    model = make()
    folders.of_kind(kind).save(model, tmp_path / "model")
    stated = json.loads((tmp_path / "model" / "config.json").read_text())["counterpoint"]
    assert stated == f"{kind}/{type(model).__name__}"
    assert equal(counterpoint.load(tmp_path / "model"), model)
    assert equal(folders.of_kind(kind).open(tmp_path / "model"), model)


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_from_before_there_was_a_statement_opens(tmp_path: Path, name: str) -> None:
    kind, make = MODELS[name]
    model = make()
    folders.of_kind(kind).save(model, tmp_path)
    rewrite(tmp_path, counterpoint=None)
    if kind in ("trajectories", "environment", "interactions", "text") or name in ("rows", "numbers of rows"):
        rewrite(tmp_path, architecture=None)  # these stated nothing at all
    if kind == "text":
        (tmp_path / "kind.json").write_text('{"kind": "WordEncoder"}')
        if (tmp_path / "head").is_dir():
            rewrite(tmp_path / "head", architecture=None)
            (tmp_path / "head" / "kind.json").write_text('{"kind": "LinearHead"}')
    assert equal(folders.of_kind(kind).open(tmp_path), model)
    assert equal(counterpoint.load(tmp_path), model)


def test_the_statement_decides_and_not_what_lies_beside(tmp_path: Path) -> None:
    IMAGES.save(projected(SmallConv()), tmp_path)
    rewrite(tmp_path, counterpoint="images/SmallConv")
    assert type(counterpoint.load(tmp_path)) is SmallConv


def test_a_model_that_is_saved_again_states_what_it_has_become(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path / "plain")
    encoder = IMAGES.open(tmp_path / "plain")
    IMAGES.save(projected(encoder), tmp_path / "whole")
    whole = counterpoint.load(tmp_path / "whole")
    assert equal(whole, projected(encoder))
    IMAGES.save(whole.encoder, tmp_path / "encoder")
    assert "counterpoint" not in json.loads((tmp_path / "encoder" / "config.json").read_text())
    with pytest.raises(CounterpointError, match="from transformers import ResNetModel"):
        counterpoint.load(tmp_path / "encoder")


def test_a_causal_language_model_is_opened_as_transformers_states_it(tmp_path: Path) -> None:
    model = characters.tiny(seed=0)
    model.save(tmp_path / "model")
    again = counterpoint.load(tmp_path / "model")
    assert all(
        a.equal(b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"counterpoint": "smells/Nose"}', "a kind this version does not know"),
        ('{"counterpoint": "images/Nose"}', "states 'Nose'"),
        ('{"a": 1}', "does not say which model"),
        ("[1]", "holds no object"),
        ("{", "cannot be read"),
    ],
)
def test_what_opens_nothing_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CounterpointError, match=message):
        counterpoint.load(tmp_path)


def test_no_folder_and_a_model_that_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="there is no folder"):
        counterpoint.load(tmp_path / "none")
    with pytest.raises(CounterpointError, match="Linear has no save_pretrained"):
        IMAGES.save(nn.Linear(2, 2), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_loading_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders.of_kind("trajectories").save(TrajectoryEncoder(5, 3), tmp_path / "model")
    with torch.no_grad():
        counterpoint.load(tmp_path / "model")
    assert capsys.readouterr().out == ""
