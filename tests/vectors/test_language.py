"""Conformance of the language objectives: divergences, policy gradients, preferences, UniSD, CREAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.judges.agreement import agreement_rates, best_and_worst
from counterpoint.kernels.divergence_rows import (
    FORWARD,
    HELLINGER,
    JEFFREYS,
    REVERSE,
    TOTAL_VARIATION,
    amari,
    jsd,
    skewed_forward,
    skewed_reverse,
)  # fmt: skip
from counterpoint.kernels.scores import Head
from counterpoint.kernels.vocabulary import divergence, entropy, log_probs
from counterpoint.objectives.distillation.agreement import sequence_agreement, token_agreement
from counterpoint.objectives.distillation.clipping import adaptive_cap
from counterpoint.objectives.distillation.divergence import sampled_reverse_kl, top_k_divergence
from counterpoint.objectives.distillation.self_distillation import Mechanisms, self_distillation
from counterpoint.objectives.preference import advantage as adv
from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.preference.kto import kto, reference_point
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.policy import VARIANTS, high_entropy, on_policy, policy_gradient
from counterpoint.objectives.preference.preference import (
    PAIRWISE,
    Pair,
    log_odds,
    pairwise,
    reward_statistics,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import aggregate, desensitised_sum, lengths, sequence_sum


def total(terms: dict[str, Loss]) -> Tensor:
    return torch.stack([term.weight * term.mean() for term in terms.values()]).sum()


def grad_of(value: Tensor, *leaves: Tensor, retain: bool = False) -> list[Tensor]:
    found = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=retain)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found)]


# Divergences between two vocabularies' distributions


def divergences(case: Case) -> Checks:
    tol = {"rtol": 1e-9, "atol": 1e-12}
    reductions: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
        "tokenmean": lambda d, m, v: aggregate(d, m, "token_mean").mean(),
        "sum": lambda d, m, v: aggregate(d, m, "sequence_sum").values.sum(),
        "elementmean": lambda d, m, v: aggregate(d, m, "token_mean").mean() / v,
        "items": lambda d, m, v: (
            aggregate(d, m, "sequence_sum").values.sum() / case.number("num_items_in_batch")
        ),
        "nolabels": lambda d, m, v: aggregate(d, torch.ones_like(m), "sequence_sum").mean(),
        "seqmean": lambda d, m, v: aggregate(d, m, "sequence_mean").mean(),
    }

    def rows(student: Tensor) -> list[Tensor]:
        teacher, temperature = case.tensor("teacher_logits"), case.number("temperature")
        return [
            divergence(student, teacher, jsd(beta), temperature=temperature)
            for beta in case.array("beta").tolist()
        ]

    def per_token() -> None:
        case.expect("per_token", torch.stack(rows(case.tensor("student_logits"))), **tol)

    def reduced(how: str) -> None:
        student = case.tensor("student_logits", grad=True)
        mask = case.tensor("labels") != -100
        values = [reductions[how](d, mask, student.shape[-1]) for d in rows(student)]
        case.expect(f"loss_{how}", torch.stack(values), **tol)
        if f"grad_{how}" in case:
            case.expect(f"grad_{how}", torch.stack([grad_of(value, student)[0] for value in values]), **tol)

    names = case.names("loss_*", "grad_*")
    return ({"per_token": per_token} if "per_token" in case else {}) | {
        how: partial(reduced, how) for how in names
    }


def divergences_alpha(case: Case) -> Checks:
    tol = {"rtol": 1e-8, "atol": 1e-12}
    fixed = {"tv": TOTAL_VARIATION, "hellinger2": HELLINGER, "jeffreys": JEFFREYS}

    def alpha() -> None:
        student, teacher = case.tensor("student_logits", grad=True), case.tensor("teacher_logits")
        values = [divergence(student, teacher, amari(a)) for a in case.array("alpha").tolist()]
        case.expect("per_token_alpha", torch.stack(values), **tol)
        case.expect("grad_alpha_mean", torch.stack([grad_of(v.mean(), student)[0] for v in values]), **tol)

    def one(name: str) -> None:
        student = case.tensor("student_logits", grad=True)
        values = divergence(student, case.tensor("teacher_logits"), fixed[name])
        case.expect(f"per_token_{name}", values, **tol)
        if f"grad_{name}_mean" in case:
            case.expect(f"grad_{name}_mean", grad_of(values.mean(), student)[0], **tol)

    names = case.names("per_token_*", "grad_*_mean")
    return {name: alpha if name == "alpha" else partial(one, name) for name in names}


def divergences_chunked(case: Case) -> Checks:
    def check() -> None:
        found: dict[str, list[Tensor]] = {
            name: [] for name in ("divergence", "entropy", "hidden", "weight", "bias")
        }
        upstream, temperature = case.tensor("upstream"), case.number("temperature")
        for beta in case.array("beta").tolist():
            leaves = [case.tensor(f"student_{name}", grad=True) for name in ("hidden", "weight", "bias")]
            student = _head(case, "student", leaves)
            teacher = _head(
                case, "teacher", [case.tensor(f"teacher_{name}") for name in ("hidden", "weight", "bias")]
            )
            values = divergence(student, teacher, jsd(beta), temperature=temperature)
            found["divergence"].append(values)
            found["entropy"].append(entropy(student, temperature=temperature))
            for name, grad in zip(("hidden", "weight", "bias"), grad_of((values * upstream).sum(), *leaves)):
                found[name].append(grad)
        for name in ("divergence", "entropy"):
            case.expect(name, torch.stack(found[name]), rtol=2e-4, atol=5e-6)
        for name in ("hidden", "weight", "bias"):
            case.expect(f"grad_student_{name}", torch.stack(found[name]), rtol=2e-4, atol=5e-6)

    return {"chunked": check}


def _head(case: Case, side: str, leaves: list[Tensor]) -> Head:
    softcap = case.number(f"{side}_softcap")
    return Head(
        *leaves, scale=case.number(f"{side}_logit_scale"), softcap=None if np.isnan(softcap) else softcap
    )


def divergences_distillm(case: Case) -> Checks:
    """DistiLLM's forward forms are cross-entropies: the divergence plus the teacher's entropy."""

    def plain(kind: object, student: Tensor, teacher: Tensor) -> Tensor:
        return divergence(student, teacher, kind)

    def crossed(kind: object, student: Tensor, teacher: Tensor) -> Tensor:
        return divergence(student, teacher, kind) + entropy(teacher)

    forms: dict[str, Callable[[float, Tensor, Tensor], Tensor]] = {
        "forward_kl": lambda lam, s, t: crossed(FORWARD, s, t),
        "reverse_kl": lambda lam, s, t: plain(REVERSE, s, t),
        "tv_distance": lambda lam, s, t: plain(TOTAL_VARIATION, s, t),
        "symmetric_kl": lambda lam, s, t: (1 - lam) * crossed(FORWARD, s, t) + lam * plain(REVERSE, s, t),
        "js_distance": lambda lam, s, t: plain(jsd(1 - lam), s, t),
        "skewed_forward_kl": lambda lam, s, t: crossed(skewed_forward(lam), s, t),
        "skewed_reverse_kl": lambda lam, s, t: plain(skewed_reverse(lam), s, t),
    }

    def one(name: str) -> None:
        student, teacher = case.tensor("student_logits", grad=True), case.tensor("teacher_logits")
        mask = case.tensor("labels") != -100
        values = [
            aggregate(forms[name](lam, student, teacher), mask).mean() for lam in case.array("lam").tolist()
        ]
        case.expect(f"loss_{name}", torch.stack(values), rtol=1e-9)
        case.expect(
            f"grad_{name}", torch.stack([grad_of(v, student)[0] for v in values]), rtol=1e-9, atol=1e-12
        )

    return {name: partial(one, name) for name in case.names("loss_*", "grad_*")}


def divergences_topk(case: Case) -> Checks:
    tol = {"rtol": 1e-8, "atol": 1e-11}

    def top(suffix: str) -> None:
        student, teacher = case.tensor("student_logits", grad=True), case.tensor("teacher_logits")
        rest = {"tail": "tail", "renorm": "renormalise"}[suffix]
        mask, k = case.tensor("mask"), int(case.number("k"))
        values = [
            top_k_divergence(student, teacher, k, jsd(a), rest=rest) for a in case.array("alpha").tolist()
        ]
        case.expect(f"per_token_{suffix}", torch.stack(values), **tol)
        grads = [grad_of(aggregate(v, mask, "sequence_mean").mean(), student)[0] for v in values]
        case.expect(f"grad_{suffix}", torch.stack(grads), **tol)

    def sampled(name: str) -> None:
        student, ids = case.tensor("student_logits", grad=True), case.tensor("completion_ids")
        logp, teacher = log_probs(student, ids), log_probs(case.tensor("teacher_logits"), ids)
        options = (
            {"old_logp": case.tensor("old_logps"), "ratio_cap": case.number("is_clip")}
            if name == "sampled_is"
            else {}
        )
        values = sampled_reverse_kl(logp, teacher, **options)
        case.expect(f"{name}_per_token", values, **tol)
        loss = aggregate(values, case.tensor("mask"), "sequence_mean").mean()
        case.expect(f"{name}_grad", grad_of(loss, student)[0], **tol)

    checks: Checks = {name: partial(top, name) for name in case.names("per_token_*", "grad_*")}
    return checks | {
        f"sampled{name}": partial(sampled, f"sampled{name}")
        for name in ("", "_is")
        if f"sampled{name}_per_token" in case or f"sampled{name}_grad" in case
    }


# Policy gradients


def policy_core(case: Case) -> Checks:
    if case.name.startswith("kl"):
        exact = {"exact": partial(_kl_exact, case)} if any(k in case for k in _KL_EXACT) else {}
        return {kind: partial(_kl_case, case, kind) for kind in case.losses()} | exact
    if case.name.startswith("adv"):
        return {"advantages": partial(_advantages, case)}
    return {variant: partial(_variant, case, variant) for variant in case.losses()}


_SOFT_CLIPS = [
    *("sapo_temperature_pos", "sapo_temperature_neg", "sapo_pos", "sapo_neg", "t_pos", "t_neg"),
    *("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
    *("k_pos", "lambda_pos", "k_neg", "lambda_neg", "la_pos", "la_neg"),
]
"""Names that SAPO's and VESPO's parameters may have in a file: the reference's settings, or the card's symbols."""


def _variant(case: Case, name: str) -> None:
    def option(key: str, default: object = None) -> object:
        return case.array(f"{name}/{key}").item() if f"{name}/{key}" in case else default

    known = {
        "loss_type",
        "loss",
        "grad_logits",
        "beta",
        "bias_kl",
        "maxlen",
        "eps_low",
        "eps_high",
        "delta",
        "level",
    }
    known |= {"entropy_coef", "quant", "opsm", "temp"} | set(_SOFT_CLIPS)
    unknown = {key.split("/", 1)[1] for key in case.keys(f"{name}/")} - known
    assert not unknown, f"settings nobody knows: {sorted(unknown)}"

    def soft(default: float, *keys: str) -> float:
        return next((float(option(key)) for key in keys if f"{name}/{key}" in case), default)

    logits, ids = case.tensor("logits", grad=True), case.tensor("completion_ids")
    mask = case.optional("mask")
    mask = torch.ones_like(ids) if mask is None else mask
    temperature = float(option("temp", 1.0))
    logp = log_probs(logits, ids, temperature=temperature)
    advantages, reference, old = (
        case.tensor("advantages"),
        case.optional("ref_logps"),
        case.optional("old_logps"),
    )
    kind = str(option("loss_type", name))
    level = None if VARIANTS[kind].level == "sequence_sum" else str(option("level", "token"))
    parameters: dict[str, object] = {}
    if kind == "sapo":
        parameters["temperatures"] = (
            soft(1.0, "sapo_temperature_pos", "sapo_pos", "t_pos"),
            soft(1.05, "sapo_temperature_neg", "sapo_neg", "t_neg"),
        )
    if kind == "vespo":
        parameters["exponents"] = tuple(
            (soft(k, f"vespo_k_{s}", f"k_{s}"), soft(la, f"vespo_lambda_{s}", f"lambda_{s}", f"la_{s}"))
            for s, k, la in (("pos", 2.0, 3.0), ("neg", 3.0, 2.0))
        )
    keep = None
    if option("quant") is not None:
        keep = high_entropy(entropy(logits, temperature=temperature), mask, float(option("quant")))
    if option("opsm") is not None:
        keep = on_policy(logp, old, advantages, mask, float(option("opsm")))[:, None].expand(mask.shape)
    loss = policy_gradient(
        logp,
        advantages,
        mask,
        kind,
        old_BT=old,
        level=level,
        low=float(option("eps_low", 0.2)),
        high=float(option("eps_high", 0.2)),
        delta=option("delta"),
        max_length=int(option("maxlen", 10)),
        keep_BT=keep,
        reference_BT=reference,
        kl=float(option("beta", 0.0)),
        kl_corrected=bool(option("bias_kl", True)) and (level or "token"),
        **parameters,
    )
    value = loss.mean()
    if option("entropy_coef") is not None:
        spread = entropy(logits, temperature=temperature)
        value = value - float(option("entropy_coef")) * aggregate(spread, mask).mean()
    results = {f"{name}/loss": lambda: value, f"{name}/grad_logits": lambda: grad_of(value, logits)[0]}
    case.expect_any(results, rtol=1e-9, atol=1e-11)


def _advantages(case: Case) -> None:
    group = int(case.number("num_generations"))
    each, weights = case.optional("rewards_per_func"), case.optional("reward_weights")
    rewards = case.tensor("rewards") if each is None else adv.combine(each, weights)
    rewards_BK = rewards[:, None] if each is None else each

    def with_kl() -> Tensor:
        old, reference = case.tensor("old_logps"), case.tensor("ref_logps")
        mask = case.optional("mask")
        mask = torch.ones_like(old) if mask is None else mask
        beta = case.number("rloo_kl_beta", 0.05)
        return adv.leave_one_out(adv.penalised(rewards, old, reference, mask, beta), group)

    case.expect_any(
        {
            "rewards": lambda: rewards,
            **{
                f"grpo_adv_scale_{scale}": partial(adv.group_relative, rewards, group, scale)
                for scale in ("group", "batch", "none")
            },
            "grpo_adv_normalize_then_sum": lambda: adv.normalise_then_sum(rewards_BK, group, weights),
            "rloo_adv": lambda: adv.leave_one_out(rewards, group),
            "rloo_adv_normalized": lambda: adv.leave_one_out(rewards, group, normalise=True),
            "rloo_adv_with_kl": with_kl,
        },
        rtol=1e-9,
        atol=1e-11,
    )


def _kl_case(case: Case, kind: str) -> None:
    logits, reference = case.tensor("logits", grad=True), case.tensor("ref_logprobs")
    logp = torch.log_softmax(logits, -1)
    name, corrected = kind.removesuffix("_biascorr"), kind.endswith("_biascorr")
    values = kl_estimate(logp, reference, name, (logp - logp.detach()).exp() if corrected else None)
    policy = logp.detach().exp()
    results = {
        f"{kind}/values": lambda: values,
        f"{kind}/mean_under_policy": lambda: (policy * values).sum(),
        f"{kind}/grad_as_loss": lambda: grad_of((policy * values).sum(), logits)[0],
    }
    case.expect_any(results, rtol=1e-9, atol=1e-11)


_KL_EXACT = ("kl_reverse", "kl_forward", "grad_kl_reverse", "grad_kl_forward")


def _kl_exact(case: Case) -> None:
    logits, reference = case.tensor("logits", grad=True), case.tensor("ref_logprobs")
    values = {
        name: divergence(logits, reference, kind)
        for name, kind in (("reverse", REVERSE), ("forward", FORWARD))
    }
    results: dict[str, Callable[[], Tensor]] = {}
    for name, value in values.items():
        results[f"kl_{name}"] = lambda value=value: value
        results[f"grad_kl_{name}"] = lambda value=value: grad_of(value, logits, retain=True)[0]
    case.expect_any(results, rtol=1e-9, atol=1e-11)


# Preferences


def _bigram(case: Case, table: Tensor, prefix: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Token log-probabilities [N, L-1] of a bigram model, completion mask, attention mask (both shifted)."""
    ids = case.tensor(f"{prefix}input_ids")
    attention = case.optional(f"{prefix}attention_mask")
    attended = (torch.ones_like(ids) if attention is None else attention)[:, 1:].bool()
    completion = case.tensor(f"{prefix}completion_mask")[:, 1:].bool() & attended
    return log_probs(table[ids[:, :-1]], ids[:, 1:]), completion, attended


def _pair(case: Case, table: Tensor, ld_alpha: float | None = None) -> Pair:
    """Both answers' sums; without a reference table in the file, a pair for reference-free losses."""

    def both(of: Tensor) -> tuple[Tensor, ...]:
        token_logp, mask, _ = _bigram(case, of)
        if ld_alpha is None:
            return sequence_sum(token_logp, mask).chunk(2)
        public = torch.minimum(*lengths(mask).chunk(2)).repeat(2)
        return desensitised_sum(token_logp, mask, public, ld_alpha).chunk(2)

    counts = lengths(_bigram(case, table)[1]).chunk(2)
    reference = case.optional("ref_table")
    return Pair(*both(table), *((None, None) if reference is None else both(reference)), *counts)


def preference_core(case: Case) -> Checks:
    names = case.names("loss_*", "grad_*")
    logps = any(key in case for key in ("logps", "ref_logps", "lengths")) or case.keys("metric_")
    checks: Checks = {name: partial(_preference, case, name) for name in names}
    return checks | ({"log_probabilities": partial(_logps, case)} if logps else {})


def _logps(case: Case) -> None:
    pair = _pair(case, case.tensor("table"))
    sums = {
        "logps": lambda: torch.cat([pair.chosen, pair.rejected]),
        "ref_logps": lambda: torch.cat([pair.reference_chosen, pair.reference_rejected]),
        "lengths": lambda: torch.cat([pair.chosen_length, pair.rejected_length]),
    }
    if any(key in case for key in sums):
        case.expect_any(sums, rtol=1e-9)
    if case.keys("metric_"):
        stats = reward_statistics(pair, case.number("beta", 0.1))
        metrics = {
            "metric_rewards_chosen_mean": "reward_chosen",
            "metric_rewards_rejected_mean": "reward_rejected",
            "metric_reward_accuracy": "reward_accuracy",
        }
        case.expect_any({k: lambda v=v: stats[v].mean() for k, v in metrics.items()}, rtol=1e-7)


def _preference(case: Case, name: str) -> None:
    beta, eps = case.number("beta", 0.1), case.number("label_smoothing", 0.0)
    table = case.tensor("table", grad=True)
    tol = {"rtol": 1e-9, "atol": 1e-11}
    links = {"sigmoid_forward_kl": "forward_kl", "sigmoid_js": "js"}
    smoothed = {"cdpo", "robust"}
    values: Tensor | None = None
    if name == "kto":
        loss = _kto(case, table)
    elif name == "orpo":
        loss, tol = _orpo(case, table), {"rtol": 2e-6, "atol": 2e-6}
    elif name in ("sft", "rpo"):
        pair = _pair(case, table)
        likelihood = nll(
            pair.chosen, pair.chosen_length, weight=1.0 if name == "sft" else case.number("rpo_alpha")
        )
        terms = {"sft": likelihood} | (
            {} if name == "sft" else {"preference": Loss(pairwise("sigmoid", pair, beta=beta))}
        )
        loss = total(terms)
    else:
        pair = _pair(case, table, ld_alpha=0.5 if name == "ld_sigmoid" else None)
        if name == "ld_sigmoid" or name in links:
            values = pairwise("sigmoid", pair, beta=beta, link=links.get(name, "reverse_kl"))
        elif name == "simpo":
            values = pairwise(name, pair, beta=case.number("simpo_beta"), margin=case.number("simpo_gamma"))
        elif name == "reference_free_sigmoid":
            values = pairwise("reference_free", pair, beta=beta)
        else:
            assert name in PAIRWISE, f"no preference loss {name}"
            values = pairwise(name, pair, beta=beta, **({"smoothing": eps} if name in smoothed else {}))
        loss = values.mean()
    case.expect_any({f"loss_{name}": lambda: loss, f"grad_{name}": lambda: grad_of(loss, table)[0]}, **tol)
    if f"losses_{name}" in case:
        case.expect(f"losses_{name}", values, **tol)


def _kto(case: Case, table: Tensor) -> Tensor:
    def ratios(of: Tensor, prefix: str) -> Tensor:
        (logp, mask, _), (reference, _, _) = (
            _bigram(case, of, prefix),
            _bigram(case, case.tensor("ref_table"), prefix),
        )
        return sequence_sum(logp, mask) - sequence_sum(reference, mask)

    point = reference_point(ratios(table, "kto_kl_"))
    if "kto_kl" in case:
        case.expect("kto_kl", point, rtol=1e-9)
    return kto(
        ratios(table, ""),
        case.tensor("kto_labels"),
        point,
        beta=case.number("beta", 0.1),
        desirable_weight=case.number("kto_desirable_weight", 1.0),
        undesirable_weight=case.number("kto_undesirable_weight", 1.0),
    ).mean()


def _orpo(case: Case, table: Tensor) -> Tensor:
    """The official likelihood covers prompt and completion of the chosen rows."""
    token_logp, _, attended = _bigram(case, table)
    half = token_logp.shape[0] // 2
    likelihood = nll(sequence_sum(token_logp, attended)[:half], lengths(attended)[:half]).mean()
    pair = _pair(case, table)
    odds = pairwise("odds_ratio", pair, beta=case.number("orpo_beta")).mean()
    mean_w, mean_l = pair.means()
    parts = {
        "orpo_nll": likelihood,
        "orpo_or_term": odds,
        "orpo_log_odds_mean": (log_odds(mean_w) - log_odds(mean_l)).mean(),
    }
    for key, value in parts.items():
        if key in case:
            case.expect(key, value, rtol=2e-6, atol=1e-5 if key == "orpo_log_odds_mean" else 1e-6)
    return likelihood + odds


# UniSD and CREAM


def unisd(case: Case) -> Checks:
    known = {
        "mode", "alpha", "temperature", "gamma", "stat", "quantile", "cap", "token_clip", "token_clip_quantile",
        "contrastive_weight", "contrastive_margin", "match_weight", "skip", "grad_accum", "top_entropy_quantile",
        "student_logits", "teacher_logits", "negative_logits", "context_logits", "student_hidden", "teacher_hidden",
        "completion_ids", "completion_mask", "loss", "agreement_weights", "disagreement", "adaptive_cap",
        "contrastive_loss", "match_loss", "grad_student_logits", "grad_student_hidden",
    }  # fmt: skip
    unknown = set(case.arrays) - known
    assert not unknown, f"settings nobody knows: {sorted(unknown)}"
    return {case.text("mode"): partial(_unisd, case)}


def _unisd(case: Case) -> None:
    mode = case.text("mode")
    agreement = "none"
    if mode.startswith("agreement_"):
        agreement = {"tok": "token", "seq": "sequence"}[mode.split("_")[1]]
    elif mode == "unisd_star":
        agreement = "token"
    else:
        assert mode in ("ema", "contrastive", "match_joint", "match_repr", "clip"), f"no mode {mode}"
    on = Mechanisms(
        kind=jsd(case.number("alpha")),
        temperature=case.number("temperature"),
        cap=case.number("token_clip") if "token_clip" in case else None,
        cap_quantile=case.number("token_clip_quantile") if "token_clip_quantile" in case else None,
        agreement=agreement,
        gamma=case.number("gamma", 1.0),
        stat=case.text("stat", "var"),
        quantile=case.number("quantile", 0.95),
        spread_cap=case.number("cap", 10.0),
        contrast_weight=case.number("contrastive_weight", 0.0),
        contrast_margin=case.number("contrastive_margin", 0.5),
        match_weight=case.number("match_weight", 0.0),
        match_only=mode == "match_repr",
        entropy_share=case.number("top_entropy_quantile", 1.0),
    )
    student, ids, mask = (
        case.tensor("student_logits", grad=True),
        case.tensor("completion_ids"),
        case.tensor("completion_mask"),
    )
    mask = mask.clone()
    mask[:, : int(case.number("skip", 0))] = 0
    hidden = case.tensor("student_hidden", grad=True) if "student_hidden" in case else None
    contexts = None
    if "context_logits" in case:
        logits = case.tensor("context_logits")
        contexts = log_probs(logits, ids.expand(logits.shape[:-1]))
    terms = self_distillation(
        student,
        case.tensor("teacher_logits"),
        ids,
        mask,
        on,
        context_logp_KBT=contexts,
        negative=case.tensor("negative_logits") if "negative_logits" in case else None,
        student_hidden_BTd=hidden,
        teacher_hidden_BTd=case.tensor("teacher_hidden") if hidden is not None else None,
    )
    loose = agreement != "none" or "token_clip_quantile" in case  # the official quantiles are float32
    tol = {"rtol": 1e-6, "atol": 1e-9} if loose else {"rtol": 1e-9, "atol": 1e-12}
    loss = total(terms) / case.number("grad_accum", 1.0)
    case.expect("loss", loss, **tol)
    grads = grad_of(loss, student, *([] if hidden is None else [hidden]))
    case.expect("grad_student_logits", grads[0], **tol)
    if hidden is not None:
        case.expect("grad_student_hidden", grads[1], **tol)
    for key, term in (("contrastive_loss", "contrast"), ("match_loss", "match")):
        if key in case:
            case.expect(key, terms[term].mean(), **tol)
    if "adaptive_cap" in case:
        values = divergence(student, case.tensor("teacher_logits"), on.kind, temperature=on.temperature)
        case.expect("adaptive_cap", adaptive_cap(values, mask, on.cap_quantile), **tol)
    if "agreement_weights" in case:
        weigh = token_agreement if agreement == "token" else sequence_agreement
        options = {"quantile": on.quantile, "cap": on.spread_cap} if agreement == "token" else {}
        weights, spread = weigh(contexts, mask, gamma=on.gamma, stat=on.stat, **options)
        case.expect("agreement_weights", weights, **tol)
        case.expect("disagreement", spread, **tol)


def cream(case: Case) -> Checks:
    method = case.text("method")
    if method in ("dpo_consistency_avg", "dpo_consistency_dynamic"):
        return {"training": partial(_cream_training, case)}
    return {method: partial(_cream_agreement, case)}


def _cream_training(case: Case) -> None:
    case.optional("input_ids"), case.optional("attention_mask")  # the labels say which positions count
    logits, labels = case.tensor("logits", grad=True), case.tensor("labels")[:, 1:]
    mask = labels != int(case.number("pad_token_id", 0))
    beta, tol = case.number("beta", 0.1), {"rtol": 1e-9, "atol": 1e-12}

    def sums(of: Tensor) -> Tensor:
        return sequence_sum(log_probs(of[:, :-1], torch.where(mask, labels, 0), mask=mask), mask)

    policy, reference = sums(logits), sums(case.tensor("ref_logits"))
    pair = Pair(*policy.chunk(2), *reference.chunk(2))
    loss = pairwise("cdpo", pair, beta=beta, smoothing=1.0 - case.tensor("consistency")).mean()
    results = {
        "policy_logps": lambda: policy,
        "ref_logps": lambda: reference,
        "margin": lambda: reward_statistics(pair, beta)["reward_margin"],
        "loss": lambda: loss,
        "grad_logits": lambda: grad_of(loss, logits)[0],
    }
    case.expect_any(results, **tol)


def _cream_agreement(case: Case) -> None:
    current, previous = case.tensor("rewards_current"), case.tensor("rewards_previous")
    how = {"toporder": "first_last"}.get(case.text("method"), case.text("method"))
    rates = agreement_rates(current, previous, how)
    chosen, rejected = best_and_worst(current)
    results = {
        "consistency": lambda: rates,
        "consistency_mean": lambda: rates.nanmean(),
        "chosen_index": lambda: chosen,
        "rejected_index": lambda: rejected,
    }
    case.expect_any(results, rtol=1e-9)


test_language = vector_tests(
    {
        "divergences": divergences,
        "divergences_alpha": divergences_alpha,
        "divergences_chunked": divergences_chunked,
        "divergences_distillm": divergences_distillm,
        "divergences_topk": divergences_topk,
        "policy_core": policy_core,
        "preference_core": preference_core,
        "unisd": unisd,
        "cream": cream,
    }
)
