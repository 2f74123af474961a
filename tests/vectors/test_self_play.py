"""Vectors of SPaR: tree search in a world of integers, votes, verdicts."""

from __future__ import annotations

from functools import partial

import numpy as np
from harness import Case, Checks, vector_tests

from counterpoint.generation.refinement_tree import Node, Outcome, Refine, Sent, Tree, Value, search
from counterpoint.judges.votes.absolute import UNDECIDED, tally, verdict_of


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


test_self_play = vector_tests({"spar": spar})
