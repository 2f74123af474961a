"""A teacher's copy of a model in shards: trained weights are its own, frozen ones its student's. One process stands for several."""

from __future__ import annotations

import torch

from counterpoint.models import sharding
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import LoRA


def test_a_copy_in_shards_stays_while_its_student_trains(mesh: object) -> None:
    student = sharding.shard(tiny(seed=0).with_lora(LoRA(rank=2, alpha=4)), mesh, sharding.policy_of("no"))
    teacher = sharding.copied(student)
    before = {name: p.to_local().clone() for name, p in teacher.named_parameters()}
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert trained
    assert trained < before.keys()
    with torch.no_grad():
        for name, p in student.named_parameters():
            if name in trained:
                p.to_local().add_(1.0)
    own = dict(student.named_parameters())
    for name, p in teacher.named_parameters():
        assert torch.equal(p.to_local(), before[name]), name
        shared = (
            p.to_local().untyped_storage().data_ptr() == own[name].to_local().untyped_storage().data_ptr()
        )
        assert shared == (name not in trained), name
    assert not any(p.requires_grad for p in teacher.parameters())
