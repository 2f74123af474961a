"""autodistil: spaces with their costs, a super-network's parts with relations and gradients, relation losses alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from harness import Case, Checks, vector_tests
from transformers import BertConfig, BertModel

from counterpoint.models.text.elastic.architecture import Architecture, Sizes, Space
from counterpoint.models.text.elastic.super_network import cut, part_of, sizes_of
from counterpoint.models.text.transformer import TransformerText, word_tokenizer
from counterpoint.objectives.distillation.relations import relation_loss, relations, score_loss


def space(case: Case) -> Checks:
    def values() -> None:
        rows = list(zip(*(case.array(name).tolist() for name in ("layers", "hidden", "mlp_ratio", "heads"))))
        layers, widths, ratios, heads = (tuple(sorted(set(column))) for column in zip(*rows))
        every = Space(layers, widths, tuple(map(Fraction, ratios)), heads)
        assert {(a.layers, a.width, float(a.ratio), a.heads) for a in every} == set(rows)
        sizes = Sizes()
        parts = [Architecture(depth, width, Fraction(ratio), count) for depth, width, ratio, count in rows]
        case.expect("params", np.array([part.parameters(sizes) for part in parts]), rtol=1e-15)
        case.expect("flops_seq128", np.array([part.operations(sizes) for part in parts]), rtol=1e-15)
        kept = np.full(case.array("kept_layers").shape, -1)
        for row, part in zip(kept, parts, strict=True):
            row[: part.layers] = part.layer_indices(sizes)
        case.expect("kept_layers", kept, rtol=0)

    return {"values": values}


def supernet(case: Case) -> Checks:
    def encoder() -> TransformerText:
        table = case.array("w/embeddings.word_embeddings.weight")
        config = BertConfig(
            vocab_size=len(table), hidden_size=int(case.array("hidden")), num_hidden_layers=int(case.array("n_layers")),
            num_attention_heads=int(case.array("n_heads")), intermediate_size=int(case.array("intermediate")),
            max_position_embeddings=len(case.array("w/embeddings.position_embeddings.weight")), hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12,
        )  # fmt: skip
        net = BertModel(config).double()
        net.load_state_dict({name[2:]: case.tensor(name) for name in case.keys("w/")})
        return TransformerText(net, word_tokenizer([f"w{i}" for i in range(len(table) - 5)]), 16)

    def run(number: int) -> None:
        own, name = encoder(), f"arch{number}/"
        sizes, ids, mask = (
            sizes_of(own),
            torch.from_numpy(case.array("input_ids")),
            case.tensor("attention_mask"),
        )
        part = Architecture(
            round(case.number(f"{name}depth_mult") * sizes.layers),
            round(case.number(f"{name}hidden_mult") * sizes.width),
            Fraction(case.number(f"{name}mlp_ratio")),
            round(case.number(f"{name}width_mult") * sizes.heads),
        )
        assert part.layer_indices(sizes) == case.array(f"{name}kept_layers").tolist()
        # The file's states are of every position, padding included, so that they are compared as they are.
        for kind in ("raw", "softmax"):
            own.zero_grad()
            last = part_of(own, ids, mask, part)
            case.expect(f"{name}last_hidden", last.states, rtol=1e-8, atol=1e-10)
            scores = [relations(each, mask, sizes.heads) for each in last[1:]]
            for which, mine in zip(("qq", "kk", "vv"), scores):
                case.expect(name + which, mine, rtol=1e-8, atol=1e-10)
            theirs = [case.tensor(f"teacher_{which}") for which in ("qq", "kk", "vv")]
            loss = torch.stack([score_loss(a, b, kind).mean() for a, b in zip(scores, theirs)]).sum()
            loss.backward()
            case.expect(f"{name}loss_{kind}", loss, rtol=1e-8)
            words = own.net.embeddings.word_embeddings.weight.grad
            query = own.net.encoder.layer[part.layer_indices(sizes)[-1]].attention.self.query.weight.grad
            case.expect(f"{name}grad_{kind}_word_embeddings", words, rtol=1e-8, atol=1e-12)
            case.expect(f"{name}grad_{kind}_query_last", query, rtol=1e-8, atol=1e-12)
        alone = cut(own, part)(ids, mask.long(), out="tokens")
        case.expect(f"{name}last_hidden", alone, rtol=1e-8, atol=1e-10)

    return {f"arch{i}": lambda i=i: run(i) for i in range(int(case.array("n_archs")))}


def relation(case: Case) -> Checks:
    def values() -> None:
        mask, heads = case.tensor("mask"), int(case.array("n_relation_heads"))
        for kind in ("raw", "softmax"):
            student = [case.tensor(f"student_{which}", grad=True) for which in "qkv"]
            teacher = [case.tensor(f"teacher_{which}") for which in "qkv"]
            loss = relation_loss(student, teacher, mask, heads, kind).mean()
            loss.backward()
            case.expect(f"loss_{kind}", loss, rtol=1e-9)
            for which, each in zip("qkv", student):
                case.expect(f"grad_{kind}_{which}", each.grad, rtol=1e-9, atol=1e-14)

    return {"values": values}


test_autodistil = vector_tests(
    {"autodistil_space": space, "autodistil_supernet": supernet, "autodistil_relation": relation}
)
