"""P1 and P1b: divergences of two vocabulary heads, and a head's log-probabilities with entropy; values and gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from harness import Step, Workload, main

SHAPE = {"n": 1024, "v": 151_936, "d": 512, "teacher": 768}
SMALL = {"n": 64, "v": 5_000, "d": 32, "teacher": 48}
KINDS = {"forward": 0.0, "reverse": 1.0, "jsd": 0.5}
ARMS = ("ours", "trl", "plain", "floor")
BUDGET = 2**27
PEAK = (SHAPE["v"] * SHAPE["d"] * 4 + 1.2 * BUDGET) / 1e6  # the weight's gradient and 1.2 budgets
TRAINED = (
    (">= 2x TRL, >= 1.2x plain, peak <= weight gradient + 1.2 budgets", {"trl": 2, "plain": 1.2, "peak_mb": PEAK}),
    (">= 3x TRL, >= 3x plain, peak <= weight gradient + 1.2 budgets", {"trl": 3, "plain": 3, "peak_mb": PEAK}),
)  # fmt: skip
# The peer's online sums cancel: values agree to about 1e-5 of the largest.
WORKLOADS = [
    *(Workload(f"p1-{k}", ARMS, SHAPE, SMALL, TRAINED[k == "jsd"][0], goals=TRAINED[k == "jsd"][1]) for k in KINDS),
    *(Workload(f"p1-{k}-frozen", ARMS, SHAPE, SMALL, ">= 2.5x TRL, peak <= 100 MB", goals={"trl": 2.5, "peak_mb": 100}) for k in KINDS),
    Workload("p1-jsd-8192", ("ours",), {**SHAPE, "n": 8192}, SMALL, "8,192 tokens: peak < 2 GB", compare=False, goals={"peak_mb": 2000}),
    *(Workload(f"p1b-log-probs{f}", ARMS, {**SHAPE, "n": 4096}, SMALL, "never slower than the faster peer", goals={"trl": 1, "plain": 1}) for f in ("", "-frozen")),
]  # fmt: skip


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    g = torch.Generator().manual_seed(0)
    n, v = sizes["n"], sizes["v"]

    def draw(rows: int, d: int, scale: float) -> torch.Tensor:
        return torch.randn(rows, d, generator=g).mul_(scale)

    hidden = draw(n, sizes["d"], 1.0).requires_grad_()
    weight = draw(v, sizes["d"], 2 / sizes["d"] ** 0.5).requires_grad_("frozen" not in workload.name)
    leaves = {"hidden": hidden, "weight": weight}
    if workload.name.startswith("p1b"):
        ids = torch.randint(0, v, (n,), generator=g)
        if arm == "floor":
            return lambda: floor(hidden.detach(), weight.detach(), None, weight.requires_grad)
        # Factors nobody can foresee, as in preference and policy-gradient losses.
        factors = torch.randn(n, generator=g) / n
        return lambda: _finish(log_probs(arm, hidden, weight, ids), factors, leaves)
    teacher = draw(n, sizes["teacher"], 1.0), draw(v, sizes["teacher"], 2 / sizes["teacher"] ** 0.5)
    kind = workload.name.split("-")[1]
    if arm == "floor":
        return lambda: floor(hidden.detach(), weight.detach(), teacher, weight.requires_grad)
    factors = torch.full((n,), 1 / n)

    def step() -> dict:
        # A trainable head holds its gradient anyway, and larger chunks write it less often.
        with budget(BUDGET if weight.requires_grad else 2**26) if arm == "ours" else nullcontext():
            return _finish((divergence(arm, kind, hidden, weight, *teacher),), factors, leaves)

    return step


def floor(
    h: torch.Tensor,
    w: torch.Tensor,
    teacher: tuple[torch.Tensor, torch.Tensor] | None,
    trained: bool,
    tile: int = 8192,
) -> dict:
    """The bare products nobody can do without: projections, the states' gradient, the weight's where it is trained."""
    z = torch.empty(len(h), tile)
    found, gradient = torch.zeros_like(h), torch.zeros_like(w) if trained else None
    for start in range(0, len(w), tile):
        part = w[start : start + tile]
        block = z[:, : len(part)]
        if teacher is not None:
            torch.mm(teacher[0], teacher[1][start : start + tile].T, out=block)
        torch.mm(h, part.T, out=block)
        found.addmm_(block, part)
        if gradient is not None:
            torch.mm(block.T, h, out=gradient[start : start + tile])
    return {}


def budget(budget_bytes: int) -> AbstractContextManager:
    from counterpoint.kernels.config import kernel_path

    return kernel_path(budget_bytes=budget_bytes)


def _finish(values: tuple[torch.Tensor, ...], factors: torch.Tensor, leaves: dict[str, torch.Tensor]) -> dict:
    (values[0] * factors).sum().backward()
    results = {f"value{i}": v.detach() for i, v in enumerate(values)}
    return {**results, **{f"grad_{k}": x.grad for k, x in leaves.items() if x.requires_grad}}


def divergence(
    arm: str, kind: str, h: torch.Tensor, w: torch.Tensor, th: torch.Tensor, tw: torch.Tensor
) -> torch.Tensor:
    if arm == "ours":
        from counterpoint.kernels import vocabulary

        return vocabulary.divergence(
            vocabulary.Head(h, w), vocabulary.Head(th, tw), vocabulary.jsd(KINDS[kind])
        )
    if arm == "trl":
        from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

        return ChunkedDivergenceFunction.apply(h, w, None, th, tw, None, KINDS[kind])[0]
    log_s = F.log_softmax(h @ w.T, -1)
    log_t = F.log_softmax(th @ tw.T, -1)
    if kind == "forward":
        return F.kl_div(log_s, log_t, log_target=True, reduction="none").sum(-1)
    if kind == "reverse":
        return F.kl_div(log_t, log_s, log_target=True, reduction="none").sum(-1)
    log_m = torch.logsumexp(torch.stack([log_s, log_t]), 0) - torch.tensor(2.0).log()
    to_teacher = F.kl_div(log_m, log_t, log_target=True, reduction="none").sum(-1)
    return 0.5 * to_teacher + 0.5 * F.kl_div(log_m, log_s, log_target=True, reduction="none").sum(-1)


def log_probs(arm: str, h: torch.Tensor, w: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if arm == "ours":
        from counterpoint.kernels import vocabulary

        return vocabulary.log_probs_and_entropy(vocabulary.Head(h, w), ids)
    if arm == "trl":
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction

        # the chunk size of the trainer's patched heads
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as size

        return ChunkedLogProbFunction.apply(h, w, None, ids, 1.0, size, None, 1.0, ("entropy",))[:2]
    log_p = F.log_softmax(h @ w.T, -1)
    with torch.no_grad():
        entropy = -(log_p.exp() * log_p).sum(-1)
    return log_p.gather(1, ids[:, None]).squeeze(1), entropy


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
