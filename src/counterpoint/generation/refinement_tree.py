"""Tree search over refinements of one answer (SPaR, arXiv 2412.11605, section 2.3): breadth- or depth-first, within a budget.

A node is an answer with its value V in [0, 1] and a critique; its children are refinements by that critique. A search is a generator:
it yields what it wants done (``Refine`` or ``Value``) and is sent the outcome, so that many searches go forward together and each model
is called once for all of them. No model is known here.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal

from counterpoint.errors import CounterpointError


@dataclass
class Tree:
    """How to search: a group of settings.

    Attributes:
        order: breadth-first or depth-first.
        branch: refinements of a node.
        select: nodes of a level (breadth-first) or children of a node (depth-first) that are refined further.
        depth: levels; nodes of the last one are not refined.
        budget: refinements that are valued, in all.
        gate: a node of a larger value is accepted.
        tries: how often a refinement is asked for until there is one.
    """

    order: Literal["bfs", "dfs"] = "bfs"
    branch: int = 3
    select: int = 2
    depth: int = 3
    budget: int = 1000
    gate: float = 0.5
    tries: int = 3


@dataclass
class Node:
    """One answer.

    Attributes:
        text: it. number: in the order of creation, the root's is 0.
        value: share of valid votes for it. critique: of it; what its refinements go by.
        parent, children: its place in the tree. depth: the root's is 0.
        raw: what the refiner wrote, of which ``text`` is the answer.
    """

    text: str
    number: int = 0
    value: float = 0.0
    critique: str | None = None
    parent: Node | None = None
    depth: int = 0
    raw: str = ""
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Refine:
    """Wanted: (answer, all that was written), or None where there is no answer."""

    node: Node


@dataclass(frozen=True)
class Value:
    """Wanted: (value, critique), the critique None where no judgement came about."""

    text: str


Sent = tuple[str, str] | tuple[float, str | None] | None
Search = Generator[Refine | Value, Sent, "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        root: with all that hangs on it. best: the accepted node, or the one of the highest value.
        accepted: whether its value is above the gate.
        created: refinements that were answers. refinements: how often one was asked for.
    """

    root: Node
    best: Node
    accepted: bool
    created: int
    refinements: int

    def post_order(self) -> list[Node]:
        """All nodes, every one after its descendants; the root is last."""
        return _post_order(self.root)


def search(root: Node, tree: Tree) -> Search:
    """Search from a root whose critique is there.

    Raises:
        CounterpointError: an order that there is not.

    >>> def run(values):
    ...     growing, sent = search(Node("0", critique="c"), Tree(branch=2, depth=2)), None
    ...     try:
    ...         while True:
    ...             wanted = growing.send(sent)
    ...             sent = (f"{wanted.node.text}x", "raw") if isinstance(wanted, Refine) else (values.pop(0), "c")
    ...     except StopIteration as end:
    ...         return end.value
    >>> outcome = run([0.2, 0.8])
    >>> outcome.best.value, outcome.accepted, outcome.created
    (0.8, True, 6)
    """
    if tree.order not in ("bfs", "dfs"):
        raise CounterpointError(f"tree.order={tree.order!r}; expected bfs or dfs")
    growing = _Growing(root, tree)
    accepted = yield from (growing.breadth() if tree.order == "bfs" else growing.depth(root))
    # Of equal ones the last, a node before its descendants.
    best = accepted or max(reversed(_pre_order(root)), key=lambda node: node.value)
    return Outcome(root, best, accepted is not None, growing.created, growing.requested)


class _Growing:
    """A search under way: the tree and what is left of the budget."""

    def __init__(self, root: Node, tree: Tree) -> None:
        self.root, self.tree, self.left = root, tree, tree.budget
        self.created = self.requested = 0
        self.valued: dict[str, tuple[float, str | None]] = {}

    def expand(self, node: Node) -> Generator[Refine | Value, Sent, None]:
        """Refine a node ``branch`` times, as far as the budget goes."""
        for _ in range(self.tree.branch):
            if self.left <= 0:
                return
            refined = None
            for _ in range(self.tree.tries):
                self.requested += 1
                refined = yield Refine(node)
                if refined is not None:
                    break
            if refined is None:
                continue
            self.created += 1
            text, raw = str(refined[0]), str(refined[1])
            child = Node(text, self.created, parent=node, depth=node.depth + 1, raw=raw)
            if text not in self.valued:  # the same answer has the same value within a tree
                sent = yield Value(text)
                assert sent is not None
                self.valued[text] = float(sent[0]), sent[1]
            child.value, child.critique = self.valued[text]
            if child.critique is not None:
                node.children.append(child)
                self.left -= 1

    def breadth(self) -> Generator[Refine | Value, Sent, Node | None]:
        """Level by level; the accepted node, if any."""
        level = [self.root]
        for _ in range(self.tree.depth):
            for node in level:
                yield from self.expand(node)
            children = _best_first([child for node in level for child in node.children])
            if children and children[0].value > self.tree.gate:
                return children[0]
            if not children or self.left <= 0:
                return None
            level = children[: min(self.tree.select, self.tree.branch)]
        return None

    def depth(self, node: Node) -> Generator[Refine | Value, Sent, Node | None]:
        """Into the best children first; the accepted node, if any."""
        if node.depth >= self.tree.depth:
            return None
        yield from self.expand(node)
        children = _best_first(node.children)
        if children and children[0].value > self.tree.gate:
            return children[0]
        if self.left <= 0:
            return None
        for child in children[: min(self.tree.select, self.tree.branch)]:
            accepted = yield from self.depth(child)
            if accepted is not None:
                return accepted
        return None


def _best_first(nodes: list[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: -node.value)


def _pre_order(node: Node) -> list[Node]:
    return [node] + [each for child in node.children for each in _pre_order(child)]


def _post_order(node: Node) -> list[Node]:
    return [each for child in node.children for each in _post_order(child)] + [node]
