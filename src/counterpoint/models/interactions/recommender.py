"""A graph recommender: one trainable embedding per user and item, propagated over the graph of training pairs.

``E^(k) = D^-1/2 A D^-1/2 E^(k-1)``; a node is the mean of its layers (LightGCN, arXiv 2002.02126, eqs. 3 to 8), with or
without layer 0. The saved folder holds embeddings, training pairs and ids: it recommends without the data at hand.

Legend: U users, I items, N = U + I nodes (users first), n chosen nodes, D dimension, E training pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.graph import Adjacency, bipartite_adjacency, propagate, propagate_rows
from counterpoint.models.model_folders import statement

IDS = "ids.json"
Perturbation = Callable[[Tensor, int, Tensor | None], Tensor]
"""``(embeddings, layer from 1, chosen nodes or None for all) -> embeddings`` applied to every layer as it is made."""


class Catalogue(Protocol):
    """What a model needs to know of its data: the ids in order, and the training pairs."""

    @property
    def users(self) -> list[str]:
        """User ids."""

    @property
    def items(self) -> list[str]:
        """Item ids."""

    @property
    def train(self) -> Any:
        """Training pairs: ``users`` [E] and ``items`` [E], positions in the two lists."""


class Recommender(nn.Module, PyTorchModelHubMixin):
    """Embedding tables and the normalised graph of the training pairs.

    Args:
        num_users, num_items, num_pairs: sizes of the tables and of the graph.
        dimension: D.
        layers: propagation steps; 0 is matrix factorisation.
        first_layer: whether the mean over layers counts layer 0 (always, where there is no other).
        seed: of the Xavier-uniform initialisation, users and items separately.

    Attributes:
        pairs: [2, E] int32, the training pairs. user_ids, item_ids: ids as they stand in the data.
    """

    pairs: Tensor
    user_embeddings: nn.Parameter
    item_embeddings: nn.Parameter

    def __init__(
        self,
        num_users: int,
        num_items: int,
        num_pairs: int = 0,
        dimension: int = 64,
        layers: int = 2,
        first_layer: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_users, self.num_items, self.dimension = num_users, num_items, dimension
        self.layers, self.first_layer = layers, first_layer
        generator = torch.Generator().manual_seed(seed)
        for role, count in {"user": num_users, "item": num_items}.items():
            table = nn.init.xavier_uniform_(torch.empty(count, dimension), generator=generator)
            self.register_parameter(f"{role}_embeddings", nn.Parameter(table))
        self.register_buffer("pairs", torch.zeros(2, num_pairs, dtype=torch.int32))
        self.user_ids = [str(number) for number in range(num_users)]
        self.item_ids = [str(number) for number in range(num_items)]
        self._graph: Adjacency | None = None

    @classmethod
    def for_data(cls, data: Catalogue, **settings: Any) -> Recommender:
        """Build a fresh model over a data set's users, items and training pairs."""
        model = cls(len(data.users), len(data.items), len(data.train), **settings)
        model.pairs.copy_(torch.stack([data.train.users, data.train.items]))
        model.user_ids, model.item_ids = list(data.users), list(data.items)
        return model

    def fitted_to(self, data: Catalogue, seed: int = 0) -> Recommender:
        """Build a model for other data that starts from this one's embeddings; users and items it has not seen start fresh.

        Raises:
            CounterpointError: no user or no item of the data is known to this model.
        """
        model = Recommender.for_data(
            data, dimension=self.dimension, layers=self.layers, first_layer=self.first_layer, seed=seed
        )
        for role in ("user", "item"):
            index_of = {name: row for row, name in enumerate(getattr(self, f"{role}_ids"))}
            names = getattr(model, f"{role}_ids")
            rows = [(row, index_of[name]) for row, name in enumerate(names) if name in index_of]
            if not rows:
                raise CounterpointError(
                    f"none of the data's {len(names)} {role}s is among the model's {len(index_of)} (the data has {names[0]!r}, "
                    f"the model {next(iter(index_of), '')!r}); use the data it was trained on, or start from a fresh model"
                )
            new, old = torch.tensor(rows).T
            with torch.no_grad():
                getattr(model, f"{role}_embeddings")[new] = getattr(self, f"{role}_embeddings").cpu()[old]
        return model

    def over(self, data: Catalogue, **settings: Any) -> Recommender:
        """Return this model with other propagation settings, after checking that it is over the data's users and items.

        Raises:
            CounterpointError: its ids or training pairs are not the data's.
        """
        same = self.user_ids == list(data.users) and self.item_ids == list(data.items)
        pairs = torch.stack([data.train.users, data.train.items]).to(self.pairs)
        if not same or pairs.shape != self.pairs.shape or not torch.equal(pairs, self.pairs):
            raise CounterpointError(
                f"the model is over {self.num_users:,} users, {self.num_items:,} items and {self.pairs.shape[1]:,} pairs, the data has "
                f"others ({len(data.users):,}, {len(data.items):,}, {len(data.train):,}); start from "
                "Recommender.for_data(data), or carry embeddings over with model.fitted_to(data)"
            )
        self.layers, self.first_layer = (
            settings.get("layers", self.layers),
            settings.get("first_layer", self.first_layer),
        )
        if self.layers < 0:
            raise CounterpointError(f"layers={self.layers}: expected 0 or more")
        return self

    @property
    def graph(self) -> Adjacency:
        """The normalised graph of the training pairs, built when first asked for, on the model's device."""
        if self._graph is None or self._graph.matrix.device != self.pairs.device:
            users, items = self.pairs.long()
            self._graph = bipartite_adjacency(
                users, items, self.num_users, self.num_items, dtype=self.user_embeddings.dtype
            )
        return self._graph

    def propagated(
        self,
        nodes: Tensor | None = None,
        *,
        graph: Adjacency | None = None,
        perturb: Perturbation | None = None,
    ) -> list[Tensor]:
        """Return layers 0 to L, each [n, D] (all N nodes if none are chosen); differentiable.

        Args:
            nodes: [n] nodes whose rows are wanted; of the last layer only these are computed.
            graph: another graph over the same nodes (a thinned one).
            perturb: applied to every propagated layer before the next one is made from it.
        """
        graph = self.graph if graph is None else graph
        chosen = (lambda x: x) if nodes is None else (lambda x: x.index_select(0, nodes))
        x_ND = torch.cat([self.user_embeddings, self.item_embeddings])
        layers = [chosen(x_ND)]
        for layer in range(1, self.layers + 1):
            if layer == self.layers and nodes is not None:
                rows_nD = propagate_rows(graph, x_ND, nodes)
                layers.append(rows_nD if perturb is None else perturb(rows_nD, layer, nodes))
                continue
            x_ND = propagate(graph, x_ND)
            if perturb is not None:
                x_ND = perturb(x_ND, layer, None)
            layers.append(chosen(x_ND))
        return layers

    def output(self, layers: list[Tensor]) -> Tensor:
        """Mean over the layers that count."""
        counted = layers if self.first_layer or len(layers) == 1 else layers[1:]
        total = counted[0]
        for layer in counted[1:]:
            total = total + layer
        return total / len(counted)

    def forward(
        self,
        nodes: Tensor | None = None,
        graph: Adjacency | None = None,
        perturb: Perturbation | None = None,
    ) -> Tensor:
        """Return the output embeddings of the chosen nodes [n, D], or of all."""
        return self.output(self.propagated(nodes, graph=graph, perturb=perturb))

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Clean output embeddings of users [U, D] and items [I, D]; their dot products are the scores."""
        users_UD, items_ID = self().split([self.num_users, self.num_items])
        return users_UD, items_ID

    @torch.no_grad()
    def recommend(
        self, user: str, k: int = 10, *, seen: bool = False, leave_out: Collection[str] = ()
    ) -> list[tuple[str, float]]:
        """Return the best ``k`` items for a user as (item id, score), without what the user has already met.

        Args:
            user: an id as it stands in the training data.
            seen: whether items the user has met may be recommended.
            leave_out: further item ids not to recommend; unknown ones are of no consequence.

        Raises:
            CounterpointError: an unknown user, with the nearest known one.
        """
        if k < 1:
            raise CounterpointError(f"k={k}: expected at least 1 recommendation")
        try:
            row = self.user_ids.index(str(user))
        except ValueError:
            hint = nearest(str(user), self.user_ids[:5] if len(self.user_ids) > 5000 else self.user_ids)
            hint = hint if len(hint) < 120 else f"known: {', '.join(self.user_ids[:5])}, ..."
            raise CounterpointError(
                f"the model knows no user {str(user)!r} among its {self.num_users:,}; {hint}"
            ) from None
        users_UD, items_ID = self.embeddings()
        scores_I = items_ID @ users_UD[row]
        if not seen:
            scores_I[self.pairs[1][self.pairs[0] == row].long()] = -torch.inf
        left_out = set(leave_out)
        for row, item in enumerate(self.item_ids if left_out else ()):
            if item in left_out:
                scores_I[row] = -torch.inf
        best, items = scores_I.topk(min(k, int(scores_I.isfinite().sum())))
        return [(self.item_ids[item], score) for item, score in zip(items.tolist(), best.tolist())]

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``model.safetensors``, ``config.json`` and ``ids.json``."""
        options.setdefault("config", self.settings() | statement(self))
        return super().save_pretrained(save_directory, **options)

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` holds: the arguments that build this model."""
        names = ("num_users", "num_items", "dimension", "layers", "first_layer")
        return {name: getattr(self, name) for name in names} | {"num_pairs": self.pairs.shape[1]}

    def _save_pretrained(self, save_directory: Path) -> None:
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, str(save_directory / "model.safetensors"), metadata={"format": "pt"})
        ids = {"users": self.user_ids, "items": self.item_ids}
        (save_directory / IDS).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **given: Any
    ) -> Recommender:  # type: ignore[override]
        hub = {name: given.pop(name, None) for name in ("revision", "cache_dir", "token")}
        hub |= {name: bool(given.pop(name, False)) for name in ("force_download", "local_files_only")}
        paths = []
        for name in ("model.safetensors", IDS):
            local = Path(model_id) / name
            if Path(model_id).is_dir() and not local.is_file():
                raise CounterpointError(
                    f"{model_id} holds no {name}; expected a folder written by save_pretrained of a recommender"
                )
            paths.append(local if local.is_file() else Path(hf_hub_download(model_id, name, **hub)))
        if not {"num_users", "num_items"} <= set(given):
            raise CounterpointError(
                f"{model_id}: its config.json is not a recommender's; expected num_users and num_items"
            )
        model = cls(**given)
        model.load_state_dict(load_file(str(paths[0]), device=map_location), strict=strict)
        ids = json.loads(paths[1].read_text(encoding="utf-8"))
        model.user_ids, model.item_ids = ids["users"], ids["items"]
        return model.to(map_location).eval()


def load_recommender(folder: str | Path) -> Recommender:
    """Load a saved folder, or a repository on the hub.

    Raises:
        CounterpointError: the folder is missing or is not a recommender's.
    """
    path = Path(folder)
    repository = not path.is_absolute() and len(path.parts) == 2 and not path.parent.exists()
    if not path.is_dir() and not repository:
        raise CounterpointError(
            f"{folder}: there is no such folder; expected one written by a recommender's training"
        )
    if path.is_dir() and not (path / "config.json").is_file():
        raise CounterpointError(
            f"{folder}: no config.json in it; expected a folder written by a recommender's training"
        )
    try:
        return Recommender.from_pretrained(str(folder))
    except OSError as error:
        if path.is_dir():
            raise
        raise CounterpointError(
            f"{folder}: no such folder here, and no repository of that name could be read ({type(error).__name__}); "
            "expected a folder written by a recommender's training"
        ) from None


def recommend_items(
    folder: str | Path, user: str, k: int = 10, leave_out: Collection[str] = ()
) -> list[tuple[str, float]]:
    """Load a saved model and return a user's best ``k`` unseen items as (item id, score); see ``Recommender.recommend``."""
    return load_recommender(folder).recommend(user, k, leave_out=leave_out)
