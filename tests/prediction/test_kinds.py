"""What each kind's model answers is what the model itself gives for the same rows, in the order of the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import counterpoint
from counterpoint.data.images.load import load_images
from counterpoint.data.regression.load import load_regression
from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler
from counterpoint.models.environment.categorical_q import CategoricalQ
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.models.images.encoders import SmallConv
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.instructed import Instructed
from counterpoint.models.language.reward import RewardModel
from counterpoint.models.regression.tabular import Predictor, TableEncoder
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.words import WordEncoder
from counterpoint.models.trajectories.encoder import TrajectoryEncoder
from example_files import write


def close(rows: list[list[float]], expected: Tensor) -> None:
    torch.testing.assert_close(torch.tensor(rows), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def houses(files: Path) -> Path:
    counterpoint.run(
        "regression",
        data=str(files / "houses.csv"),
        data_options={"target": "price"},
        settings={"batch_size": 8},
        steps=20,
        out=files / "houses",
        progress=False,
    )
    return files / "houses" / "model"


def test_numbers_are_in_the_unit_of_the_target(files: Path, houses: Path) -> None:
    model = counterpoint.load(houses)
    answers = model.predict(files / "houses.csv")
    data = load_regression(files / "houses.csv", target="price", columns_of=str(houses))
    rooms = [line.split(",") for line in (files / "houses.csv").read_text().splitlines()[1:]]
    lone = model.eval()
    for answer, (number, quarter, _) in zip(answers, rooms, strict=True):
        row = torch.tensor([[float(number), float(quarter == "north"), float(quarter == "south")]])
        close([[answer["prediction"]]], lone(row, predict=True)[:, None].detach() * data.scale + data.offset)
    without = [{"rooms": number, "quarter": quarter} for number, quarter, _ in rooms]
    assert [one["prediction"] for one in model.predict(without)] == [one["prediction"] for one in answers]
    [alone] = model.predict(without[:1])
    assert alone["prediction"] == pytest.approx(answers[0]["prediction"], rel=1e-5)


def test_a_runs_folder_opens_as_its_model(houses: Path) -> None:
    row = [{"rooms": 3, "quarter": "north"}]
    assert counterpoint.load(houses.parent).predict(row) == counterpoint.load(houses).predict(row)
    with pytest.raises(CounterpointError, match=r"config\.json"):
        counterpoint.load(houses.parents[1])


def test_gaps_and_new_categories_are_read_as_the_model_learnt(houses: Path) -> None:
    model = counterpoint.load(houses)
    given = model.predict([{"rooms": None, "quarter": "north"}, {"rooms": 3.5, "quarter": "east"}])
    mean = json.loads((houses / "config.json").read_text())["encoding"][0]["fill"]
    [filled] = model.predict([{"rooms": mean, "quarter": "north"}])
    assert given[0]["prediction"] == pytest.approx(filled["prediction"], rel=1e-5)
    with pytest.raises(CounterpointError, match="no column 'quarter', from which the model learnt"):
        model.predict([{"rooms": 3}])
    with pytest.raises(CounterpointError, match="holds numbers, but 1 cells are none"):
        model.predict([{"rooms": "three", "quarter": "north"}])


def test_a_column_has_one_way_of_writing_numbers(tmp_path: Path, houses: Path) -> None:
    table = "rooms;quarter\n" + "1,5;north\n" * 1024 + "1,234.5;north\n"
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(CounterpointError, match="decimal commas in some rows and commas between thousands"):
        counterpoint.predict(houses, data=tmp_path / "a.csv", out=tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_pictures_are_brought_to_what_the_model_learnt_from(files: Path, tmp_path: Path) -> None:
    from PIL import Image

    data = load_images(str(files / "photos"), size=12)
    model = SmallConv(channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "reading.json").write_text(
        json.dumps({"kind": "images", "shape": list(data.shape)})
    )
    opened = counterpoint.load(tmp_path / "model")
    answers = {row["file"]: row["embedding"] for row in opened.predict(files / "photos")}
    assert len(answers) == 40
    pictures = [
        Image.open(files / "photos" / name).resize((12, 12), Image.Resampling.BICUBIC) for name in answers
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    with torch.no_grad():
        close(list(answers.values()), model.eval()(pixels.float() / 255))
    held = {
        bytes(row.numpy().tobytes())
        for part in (data.train, data.validation, data.test)
        for row in part.pixels
    }
    assert {bytes(row.numpy().tobytes()) for row in pixels} == held  # the loader's own pixels
    gray = Image.fromarray(np.full((30, 12), 90, dtype=np.uint8))
    gray.save(tmp_path / "gray.png")
    [one] = opened.predict(tmp_path / "gray.png")
    assert (one["file"], len(one["embedding"])) == ("gray.png", 256)
    (tmp_path / "table.csv").write_text("path,note\ngray.png,x\n")
    [row] = opened.predict(tmp_path / "table.csv", keep=["note"])
    assert (row["row"], row["note"], row["embedding"]) == (1, "x", one["embedding"])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CounterpointError, match=r"bad\.png: not a readable picture"):
        opened.predict(tmp_path)
    assert [row["file"] for row in opened.predict(tmp_path, skip=True)] == ["gray.png"]


def test_recommendations_are_the_models(tmp_path: Path) -> None:
    class Data:
        users, items = [f"u{n}" for n in range(5)], [f"i{n}" for n in range(9)]

        class train:
            users, items = torch.tensor([0, 0, 1, 4]), torch.tensor([2, 3, 8, 0])

            def __len__(self) -> int:
                return 4

    Data.train = Data.train()  # type: ignore[assignment, misc]
    model = Recommender.for_data(Data(), dimension=4, layers=1)
    model.save_pretrained(tmp_path / "model")
    opened = counterpoint.load(tmp_path / "model")
    answers = opened.predict(["u4", "u0", "u4", "u2"], k=8)
    assert [answer["user"] for answer in answers] == ["u4", "u0", "u2"]  # each once
    for answer in answers:
        expected = model.recommend(answer["user"], 8)
        assert [each["item"] for each in answer["items"]] == [item for item, _ in expected]
        assert [each["score"] for each in answer["items"]] == pytest.approx([score for _, score in expected])
    with pytest.raises(CounterpointError, match="knows no user 'u9'"):
        opened.predict([{"user_id": "u9"}])


def test_answers_are_greedy_and_of_the_folders_own_instruction(tmp_path: Path) -> None:
    model = Instructed(tiny(seed=0), "Sum:")
    model.save(tmp_path / "model")
    opened = counterpoint.load(tmp_path / "model")
    prompts = ["1+1=", "20+2=", "3="]
    replies = Sampler(max_new_tokens=5, temperature=0)(model, model.prompts(prompts))
    answers = opened.predict(prompts, max_new_tokens=5)
    assert [answer["completion"] for answer in answers] == model.texts(replies)
    drawn = opened.predict(prompts, max_new_tokens=5, temperature=1.0, seed=3)
    assert drawn == opened.predict(prompts, max_new_tokens=5, temperature=1.0, seed=3, batch_size=1)
    assert drawn != opened.predict(prompts, max_new_tokens=5, temperature=1.0, seed=4)
    asked = [{"question": "1+1=", "answer": "2"}, {"messages": [{"role": "user", "content": "3="}]}]
    assert [one["completion"] for one in opened.predict(asked[:1], max_new_tokens=5)] == [
        answers[0]["completion"]
    ]
    with pytest.raises(CounterpointError, match="row 2: no prompt among the columns"):
        opened.predict([{"prompt": "1="}, {"other": "1="}])


def test_rewards(tmp_path: Path) -> None:
    model = RewardModel.on(tiny(seed=0), seed=1)
    model.save(tmp_path / "model")
    rows = [{"prompt": "1+1=", "completion": "2"}, {"prompt": "2+2=", "completion": "22"}]
    answers = counterpoint.load(tmp_path / "model").predict(rows)
    expected = model.rewards([row["prompt"] for row in rows], [row["completion"] for row in rows])
    assert [answer["reward"] for answer in answers] == pytest.approx(expected.tolist(), rel=1e-5)
    with pytest.raises(CounterpointError, match="row 1: no answer to reward"):
        counterpoint.load(tmp_path / "model").predict([{"prompt": "1+1="}])


def test_trajectories_have_embeddings_and_rewards(tmp_path: Path) -> None:
    model = TrajectoryEncoder(6, dimension=3)
    model.reward.copy_(torch.tensor([1.0, -2.0, 0.5]))
    model.save_pretrained(tmp_path / "model")
    opened = counterpoint.load(tmp_path / "model")
    states = torch.arange(6.0).view(3, 2)
    [answer] = opened.predict([{"id": "walk", "states": states.tolist()}])
    assert answer["id"] == "walk"
    close([answer["embedding"]], model(states.flatten())[None].detach())
    assert answer["reward"] == pytest.approx(float(model.score(states.flatten()).detach()), rel=1e-5)
    [longer] = opened.predict([{"states": [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0], [4.0, 5.0]]}])
    assert longer["reward"] == pytest.approx(answer["reward"], rel=1e-5)  # the same way, in more states
    with pytest.raises(CounterpointError, match="states of 4 numbers; the model reads 6"):
        opened.predict([{"states": [[0.0, 1.0, 2.0, 3.0]]}])


def test_worlds_and_networks(tmp_path: Path) -> None:
    network = CategoricalQ(3, 2, atoms=5, hidden=8, latent=4)
    network.save_pretrained(tmp_path / "network")
    [answer] = counterpoint.load(tmp_path / "network").predict([{"observation": [0.1, 0.2, 0.3]}])
    values = network.eval().values(torch.tensor([[0.1, 0.2, 0.3]])).detach()
    close([answer["values"]], values)
    assert answer["action"] == int(values.argmax())
    with pytest.raises(CounterpointError, match="an observation of 3 finite numbers"):
        counterpoint.load(tmp_path / "network").predict([[0.1, float("nan"), 0.3]])
    world = LowRankModel(4, 3, horizon=2)
    world.first[1, 2] = torch.tensor([0.1, 0.7, 0.2])
    world.save_pretrained(tmp_path / "world")
    opened = counterpoint.load(tmp_path / "world")
    [answer] = opened.predict([{"state": 2, "step": 1, "action": 1}])
    assert (answer["action"], answer["policy"]) == (1, [0.1, 0.7, 0.2])
    close([answer["next"]], world.transition()[1, 2 * 3 + 1][None])
    with pytest.raises(CounterpointError, match="row 1: state 4; expected a whole number from 0 to 3"):
        opened.predict([4])


def test_pictures_of_several_sizes_keep_their_order_where_the_folder_names_none(tmp_path: Path) -> None:
    model = SmallConv(channels=1)
    model.save_pretrained(tmp_path / "model")
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (side, side), dtype=np.uint8) for side in (12, 16, 20, 12, 16)]
    answers = counterpoint.load(tmp_path / "model").predict(pictures)
    with torch.no_grad():
        for answer, picture in zip(answers, pictures, strict=True):
            close([answer["embedding"]], model.eval()(torch.from_numpy(picture)[None, None].float() / 255))


def test_a_number_is_given_in_the_unit_that_the_targets_were_read_in(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Predictor(TableEncoder(["x"], [0.0], [1.0], widths=[4]), 0.5, 2.0, unit=(1000.0, 10.0)).eval()
    model.save_pretrained(tmp_path / "model")
    [answer] = counterpoint.load(tmp_path / "model").predict([{"x": 3.0}])
    own = float(model(torch.tensor([[3.0]]), predict=True).detach())
    assert answer["prediction"] == pytest.approx(own * 10 + 1000, rel=1e-6)
    with pytest.raises(CounterpointError, match="no value for gaps"):
        counterpoint.load(tmp_path / "model").predict([{"x": None}])


def test_a_text_may_have_several_labels(tmp_path: Path) -> None:
    encoder = WordEncoder(["tea", "sea", "warm"])
    model = with_linear_head(encoder, ["drink", "water", "heat"], True, seed=0)
    with torch.no_grad():
        model.head.linear.bias.copy_(torch.tensor([20.0, -20.0, 20.0]))  # type: ignore[union-attr]
    model.save_pretrained(tmp_path / "model")
    [answer] = counterpoint.load(tmp_path / "model").predict(["tea"])
    assert answer["labels"] == ["drink", "heat"]
    assert [round(value) for value in answer["probabilities"].values()] == [1, 0, 1]


def test_a_sparse_retriever_names_the_entries_of_a_querys_vector() -> None:
    from counterpoint.models.retrieval.sparse import fresh
    from counterpoint.prediction.predictor import Settings
    from counterpoint.prediction.retrieval import predictor

    model = fresh(["where", "is", "the", "tea", "an", "apple"])
    texts = ["where is the tea", "an apple"]
    answers = predictor(model, Path(), Settings()).answer(texts)
    dense = model.encode_queries(texts).dense()
    known = model.queries.tokenizer.get_vocab()
    for answer, row in zip(answers, dense, strict=True):
        assert answer["weights"] == sorted(answer["weights"], reverse=True)
        assert len(answer["terms"]) == int((row > 0).sum()) > 0
        close([answer["weights"]], row[[known[word] for word in answer["terms"]]][None])
