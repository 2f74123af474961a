"""Which objective goes through which adapter, and why another does not. Plain data, read without torch.

A *form* says what a module of an objective is called with; what sentence-transformers and TRL can hand over follows from it.
Every public function of ``counterpoint.objectives`` is either in ``OBJECTIVES`` or in ``LEFT_OUT``, which a test checks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import CounterpointError, nearest


@dataclass(frozen=True)
class Form:
    """What a module of this form is called with.

    Attributes:
        call: the arguments of the module. columns: the columns of sentence-transformers that give them; empty: none do.
        why: where there are none, the reason.
    """

    call: str
    columns: str = ""
    why: str = ""


FORMS: Mapping[str, Form] = {
    "pair": Form("first [n, D], second [n, D]", "anchor, positive"),
    "keys": Form("queries [n, D], keys [n, D], and if wanted hard negatives [K, D]", "anchor, positive, negative, ..."),
    "views": Form("views [V, n, D]", "two or more columns of views"),
    "samples": Form("views [n, V, D], and if wanted labels [n]", "two or more columns of views, and if wanted label"),
    "labelled": Form("rows [n, D], labels [n]", "text, label"),
    "valued": Form("rows [n, D], values [n]", "text, label (a number)"),
    "proxies": Form("rows [n, D], labels [n]; holds the proxies", "text, label"),
    "same": Form("first [n, D], second [n, D], same [n]", "text 1, text 2, label (1 or 0)"),
    "graded": Form("first [n, D], second [n, D], scores [n]", "sentence1, sentence2, score"),
    "triplet": Form("anchor [n, D], positive [n, D], negative [n, D]", "anchor, positive, negative"),
    "scores": Form("positive [n], negatives [n, K]", "anchor, positive, negative, ..."),
    "candidates": Form("student [n, N], teacher [n, N]", "query, N passages, label (N teacher's scores)"),
    "remembered": Form("first [n, D], second [n, D], index [n] of the rows", "anchor, positive, label (the row's number)"),
    "neighbours": Form(
        "first, second, and their predictions, each [n, D]; holds the queue", why="needs a predictor beside the encoder"
    ),
    "tokens": Form("the function's tensors, and mask=[B, T]", why="is of tokens, not of whole texts"),
    "tensors": Form("the function's tensors", why="is of logits, log-probabilities or states, not of embeddings"),
    "noise": Form("positive [n], negatives [n, K], log_noise=([n], [n, K])", why="needs the noise's log-probabilities"),
    "preference": Form("a Pair", why="is of log-probabilities of completions: preference_trainer"),
    "policy": Form("the function's tensors", why="is of log-probabilities of completions: policy_trainer"),
    "divergence": Form("student [B, T, V], teacher [B, T, V], mask=[B, T]", why="is of a vocabulary: distillation_trainer"),
}  # fmt: skip

_BY_FORM: Mapping[str, str] = {
    "pair": "contrast.decoupled:decoupled contrast.infonce:symmetric_info_nce,nt_xent contrast.view_contrast:view_contrast "
    "contrast.sentence_ranking:sentence_ranking",
    "keys": "contrast.infonce:info_nce",
    "views": "contrast.multiview:mv_infonce,mv_dhel,mv_per_view,mv_dhel_per_view,poly_view,pairwise_nt_xent,pairwise_dhel,"
    "average_nt_xent,average_dhel",
    "samples": "labels.supervised:supcon_views",
    "labelled": "labels.supervised:supcon_out,supcon_in,nt_xent_pairs,n_pairs labels.triplet:triplet "
    "labels.pairwise:multi_similarity,circle,generalized_lifted,contrastive_pair labels.class_contrast:class_contrast",
    "valued": "labels.mixed_pairs:mixed_pairs",
    "proxies": "labels.proxy:normalized_softmax,proxy_nca,proxy_anchor,soft_triple",
    "same": "contrast.margins:pair_margin",
    "graded": "labels.graded_pairs:cosent,cosine_error",
    "triplet": "contrast.margins:row_triplet labels.similarity_query:answered_query",
    "scores": "contrast.noise_contrast:infonce,negative_sampling,ebm_hinge,ebm_log,ebm_square_square,scored_contrast",
    "noise": "contrast.noise_contrast:ranking_nce,binary_nce",
    "candidates": "distillation.candidate_scores:score_distillation,margin_error",
    "remembered": "contrast.global_contrast:robust_views,robust_pairs",
    "neighbours": "contrast.neighbours:nnclr",
    "preference": "preference.preference:pairwise",
    "policy": "preference.policy:policy_gradient",
    "divergence": "distillation.divergence:divergence,top_k_divergence",
    "tokens": "distillation.token_contrast:token_contrast distillation.divergence:sampled_reverse_kl "
    "distillation.distribution_advantage:advantage_loss distillation.hindsight:token_losses "
    "distillation.privileged:towards_teacher distillation.matching:feature_distance",
    "tensors": "contrast.momentum_contrast:momentum_contrast distillation.restyling:reconstruction,multilevel_sigmoid "
    "distillation.score_distillation:score_distillation_sampling contrast.graph_contrast:node_contrast contrast.density_ratio:density_ratio control.ranking:bpr,frobenius "
    "control.self_prediction:self_prediction control.variational:gaussian_kl,squared_error control.distributional:categorical_loss "
    "distillation.continual:replayed_contrast,audio_text_contrast,old_class_distillation,token_distillation "
    "distillation.distilled_set:distilled_set_error distillation.guidance:guided_error "
    "distillation.layer_states:prediction_loss,state_loss distillation.relations:relation_loss,score_loss "
    "distillation.rationales:contrasted,judged distillation.privileged:surrogate "
    "distillation.self_evaluation:self_evaluation labels.label_match:label_match "
    "labels.label_augmentation:joint_loss,augmented_loss,transformation_loss,ensemble_distillation "
    "labels.self_labels:pseudo_label_loss labels.replaced_tokens:generator_loss,detection_loss "
    "labels.adversarial:symmetric_cross_entropy preference.degree:degree preference.kto:kto "
    "preference.label_distribution:listwise preference.likelihood:nll preference.optimism:optimism,expected_optimism "
    "preference.ranked:best_of_n,reward_weighted,token_paired preference.reward:bradley_terry,centre "
    "preference.self_play:weighted_likelihood,group_cispo preference.text_feedback:turn_loss,distillation_loss,critique_loss "
    "sparsity:l1_norm,flops,not_all_zero",
}

LEFT_OUT: Mapping[str, str] = {
    "makes positives, targets or rows, and is no loss": "contrast.neighbours:nearest_neighbours labels.label_augmentation:joint_labels,"
    "aggregated_logits,single_logits labels.replaced_tokens:choose_gaps,sample_tokens,corrupt,replaced labels.self_labels:pseudo_labels,"
    "repair,blended labels.adversarial:normalised,first_noise,climb,disturbed,worst_noise,departure distillation.distilled_set:ridge_head,"
    "with_ones distillation.layer_map:layer_pairs,transport_plan distillation.relations:relations "
    "distillation.self_evaluation:self_weight,judged_picture,mixed_target,renormalised_target,time_weight "
    "distillation.candidate_scores:fused_scores,rescaled_scores distillation.distribution_advantage:top_of "
    "control.distributional:project,taken,categorical_target,priority control.self_prediction:unit_range "
    "preference.ranked:ranked_pairs preference.label_distribution:label_distribution distillation.rationales:chosen,margined "
    "labels.pairwise:mine_multi_similarity preference.degree:recognised distillation.hindsight:without_first",
    "makes rewards, advantages or weights, and is no loss": "preference.advantage:combine,standardise,group_relative,normalise_then_sum,"
    "leave_one_out,penalised,advantages preference.label_distribution:distribution_advantages,distinguished,of_prompts "
    "preference.ranked:reward_weights preference.self_play:group_advantages,overlong,guide_score,conjecture_worth,learnable "
    "preference.text_feedback:turn_advantages,distillation_advantages,possible preference.mismatch:engine_weights "
    "preference.policy:high_entropy,on_policy distillation.privileged:shaped_rewards,teacher_to_student distillation.hindsight:advantages "
    "distillation.agreement:token_agreement,sequence_agreement distillation.clipping:clip,adaptive_cap contrast.decoupled:positive_weights "
    "contrast.rationale_reward:contrastive_rewards control.exploration:covariance,elliptical_bonus,n_step "
    "distillation.continual:distillation_share,replayed_share sparsity:rising_weight preference.kto:reference_point",
    "is a part of policy_gradient, which has it by name": "preference.policy:ratio,clipped,reinforce,cispo,sapo,vespo "
    "preference.kl_estimate:kl_estimate",
    "is a statistic or a bound to look at; a loss is its negative": "contrast.decoupled:negative_mass preference.preference:preference_logit,"
    "reward_statistics,log_odds preference.reward:pair_statistics distillation.mutual_information:interpolated_bound,leave_one_out,"
    "infonce_bound,tuba_bound",
    "has averages and temperatures of both sides; robust_pairs is one of its two directions": "contrast.robust_sentences:robust_sentences",
    "is a whole step or an exact solution": "contrast.global_contrast:descend,best_temperature preference.mass:forward_kl_step,reverse_kl_step",
    "takes objects of its method, not tensors": "labels.intent_classification:intent_loss distillation.self_distillation:self_distillation "
    "preference.unified:group_losses,check_unified preference.graded:graded_losses distillation.privileged:joint "
    "distillation.distribution_advantage:stored_advantage_loss,stored_forward_kl preference.choice:check_choice "
    "distillation.divergence:named_kind",
    "is arithmetic that losses are written with": "in_batch:scale_of,softplus,unit,own_rows,not_repeats,relate reduction:nonzero_mean,total "
    "tokens:masked,lengths,sequence_sum,sequence_mean,desensitised_sum,aggregate,log1mexp contrast.infonce:require_negatives,"
    "require_same_shape labels.pairwise:masked_logsumexp labels.triplet:distances,paired_distances control.ranking:dot "
    "distillation.guidance:norms contrast.sentence_sides:joined,sides_of",
}  # fmt: skip


def paths(listed: str) -> list[str]:
    """["module:function"] of a line of the tables above.

    >>> paths("a.b:f,g c:h")
    ['a.b:f', 'a.b:g', 'c:h']
    """
    parts = (part.partition(":") for part in listed.split())
    return [f"{module}:{name}" for module, _, names in parts for name in names.split(",") if name]


OBJECTIVES: Mapping[str, tuple[str, str]] = {
    path.partition(":")[2]: (path, form) for form, listed in _BY_FORM.items() for path in paths(listed)
}
"""By name: "module:function" below ``counterpoint.objectives``, and its form."""


def form_of(name: str) -> str:
    """The form of an objective by its name.

    Raises:
        CounterpointError: no such objective, with the nearest name, or the reason why it goes through no adapter.

    >>> form_of("decoupled")
    'pair'
    >>> form_of("descend")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: 'descend' goes through no adapter: it is a whole step or an exact solution
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name][1]
    for why, listed in LEFT_OUT.items():
        if name in {path.partition(":")[2] for path in paths(listed)}:
            raise CounterpointError(f"'{name}' goes through no adapter: it {why}")
    raise CounterpointError(
        f"there is no objective '{name}'; {nearest(name, OBJECTIVES)}; docs/trainers.md lists all"
    )


def function_of(name: str) -> Callable[..., Any]:
    """The objective itself: the function that methods call.

    Raises:
        CounterpointError: as ``form_of``.
    """
    form_of(name)
    module, _, function = OBJECTIVES[name][0].partition(":")
    return getattr(importlib.import_module(f"counterpoint.objectives.{module}"), function)
