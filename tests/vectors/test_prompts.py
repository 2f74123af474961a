"""Vectors of prompt SPO and SPaR: whole traces with a scripted language model, tree search in a world of integers, votes, verdicts; the loss of SPECS and its factor."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import Case, Checks, vector_tests

from counterpoint.data.language.problems import Problem, ProblemData, Problems
from counterpoint.evaluation.generalization import generalization_factor
from counterpoint.generation import authors
from counterpoint.generation.authors import FunctionAuthor
from counterpoint.generation.refinement_tree import Node, Outcome, Refine, Sent, Tree, Value, search
from counterpoint.judges.votes.absolute import UNDECIDED, tally, verdict_of
from counterpoint.judges.votes.pairwise import acceptance
from counterpoint.methods import prompt_spo
from counterpoint.methods.prompt_spo import PromptSPO
from counterpoint.models.language.characters import tiny
from counterpoint.models.tokens import Replies
from counterpoint.phases.pair_learning import hybrid
from counterpoint.training import Run

RAISED = "<<raise>>"
"""Stands for a call that fails, which the published program counts as a vote for the old prompt, as it does a reply without a letter."""


class Script:
    """The three roles, which reply from the file and keep what they were sent in order."""

    def __init__(self, case: Case) -> None:
        self.proposals = iter(case.array("optimizer_responses").tolist())
        self.votes = iter(case.array("judge_responses").ravel().tolist())
        self.kinds: list[str] = []
        self.executed: list[str] = []

    def execute(self, prompts: list[str]) -> list[str]:
        self.kinds += ["execute"] * len(prompts)
        self.executed += prompts
        return [f"out<{prompt}>" for prompt in prompts]

    def propose(self, prompts: list[str]) -> list[str]:
        self.kinds += ["optimize"] * len(prompts)
        return [next(self.proposals) for _ in prompts]

    def vote(self, prompts: list[str]) -> list[str]:
        self.kinds += ["evaluate"] * len(prompts)
        return [next(self.votes).replace(RAISED, "") for _ in prompts]


def searched(case: Case) -> tuple[Script, list[dict[str, Any]], str]:
    script, swapped = Script(case), case.array("swapped").astype(bool).tolist()
    rows = Problems([Problem(question) for question in case.array("questions").tolist()], "exact")
    method = PromptSPO(
        requirements=case.text("requirements"),
        prompt=case.text("initial_prompt"),
        rounds=len(swapped),
        guarded=False,
        votes=len(swapped[0]),
    )

    def swaps(votes: int, seed: int, r: int) -> Sequence[bool]:
        return swapped[r - 1]

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(prompt_spo, "_swaps", swaps)
        patch.setattr(prompt_spo, "of_sampler", lambda sampler: FunctionAuthor(script.execute))
        patch.setattr(
            authors.Writer,
            "build",
            lambda self, model, folder: FunctionAuthor(
                script.vote if isinstance(self, prompt_spo.Voter) else script.propose
            ),
        )
        with Run(folder, seed=0, progress=False) as run:
            made = method.fit(tiny(seed=0), ProblemData("case", rows, rows, rows), run)

        lineage = [json.loads(line) for line in (Path(folder) / "lineage.jsonl").read_text().splitlines()]
        assert (Path(folder) / "prompt.txt").read_text() == made.instruction + "\n"
    return script, lineage, made.instruction


def trace(case: Case) -> None:
    script, rows, final = searched(case)
    best, current = [], ""
    for row in rows:
        current = row["prompt"] if row["accepted"] else current
        best.append(current)
    case.expect("votes", np.array([row["votes"] for row in rows[1:]], dtype=float), rtol=0)
    case.expect("accepted", np.array([row["accepted"] for row in rows], dtype=float), rtol=0)
    assert [row["prompt"] for row in rows] == case.array("candidate_prompts").tolist()
    assert best == case.array("best_prompt_after_round").tolist()
    assert final == case.text("final_prompt")
    assert script.kinds == case.array("call_kinds").tolist()
    assert script.executed[0] == case.text("first_execute_message")
    per_round = 1 + len(case.array("questions")) + len(case.array("swapped")[0])
    assert per_round == case.number("calls_per_iteration")
    assert all(row["calls"] == per_round for row in rows[1:])


def table(case: Case) -> None:
    assert case.text("kind") == "accept_table"
    n = int(case.number("n"))
    case.expect("p_accept", np.array([acceptance(p, n) for p in case.array("p")]), rtol=1e-12, atol=1e-14)


def prompt_spo_case(case: Case) -> Checks:
    return {"table": partial(table, case)} if "p_accept" in case else {"trace": partial(trace, case)}


def grown(case: Case) -> Outcome:
    """A search whose answers are their numbers, with the file's values and failures."""
    tree = Tree(
        order=case.text("kind"),  # type: ignore[arg-type]
        branch=int(case.number("branch")),
        select=int(case.number("select_branch")),
        depth=int(case.number("max_depth")),
        budget=int(case.number("budget")),
        gate=case.number("end_gate"),
    )
    values = case.array("values").tolist()
    failing, unjudged = (set(case.array(name).tolist()) for name in ("refine_fail_calls", "judge_fail_ids"))
    growing, sent, calls, created, parents = search(Node("0", critique="c"), tree), None, 0, 0, [-1]
    try:
        while True:
            wanted: Refine | Value = growing.send(sent)
            reply: Sent
            if isinstance(wanted, Refine):
                fails, calls = calls in failing, calls + 1
                if fails:
                    reply = None
                else:
                    created += 1
                    parents.append(wanted.node.number)
                    reply = str(created), ""
            else:
                number = int(wanted.text)
                reply = values[number], None if number in unjudged else "c"
            sent = reply
    except StopIteration as end:
        outcome: Outcome = end.value
    assert outcome.created == created == case.number("n_created")
    assert outcome.refinements == calls == case.number("n_refine_calls")
    assert parents == case.array("parent").tolist()
    return outcome


def tree_case(case: Case) -> None:
    outcome = grown(case)
    assert outcome.best.number == case.number("final_id")
    assert outcome.accepted == bool(case.number("accepted"))
    case.expect("final_value", outcome.best.value, rtol=0)
    inner = [node for node in outcome.post_order() if node is not outcome.root]
    assert [n.number for n in inner if 0.5 < n.value < 1] == case.array("critique_positive_ids").tolist()
    assert [n.number for n in inner if 0 < n.value < 0.5] == case.array("critique_negative_ids").tolist()


def votes(case: Case) -> None:
    decided = [
        tally([list(votes) for votes in rounds if votes[0] != -9]) or UNDECIDED
        for rounds in case.array("verdicts").tolist()
    ]
    case.expect("value", np.array([each.value for each in decided]), rtol=0)
    assert [each.index for each in decided] == case.array("critique_index").tolist()


def verdicts(case: Case) -> None:
    case.expect("label", np.array([float(verdict_of(text)) for text in case.array("text").tolist()]), rtol=0)


def spar(case: Case) -> Checks:
    check = {"vote": votes, "verdict": verdicts}.get(case.text("kind"), tree_case)
    return {case.text("kind"): partial(check, case)}


def hybrid_case(case: Case) -> None:
    """The published trainer shifts labels by one and ignores -100; the first half of the rows is chosen."""
    logits, labels = case.tensor("logits", grad=True), case.tensor("labels")
    mask = labels[:, 1:] != -100

    def picked(scores: torch.Tensor) -> torch.Tensor:
        logp = scores[:, :-1].log_softmax(-1).gather(-1, labels[:, 1:].clamp(min=0)[..., None]).squeeze(-1)
        return logp * mask

    with torch.no_grad():
        reference = torch.stack(picked(case.tensor("ref_logits")).sum(1).chunk(2), 1)
    answers = Replies(labels[:, 1:].clamp(min=0), mask.long(), mask)
    lam = case.number("lam")
    terms = hybrid(picked(logits), answers, reference, beta=case.number("beta"), sft_weight=lam)
    total = torch.stack([term.mean() * term.weight for term in terms.values()]).sum()
    total.backward()
    case.expect("loss", total.detach(), rtol=1e-9)
    case.expect("dpo_term", terms["preference"].mean().detach(), rtol=1e-9)
    case.expect("sft_term", terms["sft"].mean().detach(), rtol=1e-9)
    case.expect("grad_logits", logits.grad, rtol=1e-9, atol=1e-14)


def factors(case: Case) -> None:
    pairs = zip(case.array("g_id").tolist(), case.array("g_ood").tolist())
    values = [generalization_factor(one, other, case.number("beta")) for one, other in pairs]
    case.expect("gf", np.array(values), rtol=1e-12)


def specs(case: Case) -> Checks:
    check = {"hybrid": hybrid_case, "gf": factors}[case.text("kind")]
    return {case.text("kind"): partial(check, case)}


test_prompts = vector_tests({"prompt-spo": prompt_spo_case, "spar": spar, "specs": specs})
