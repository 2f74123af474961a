"""XSimGCL on MovieLens-100k: contrast against none, noise against none, one propagation against three."""

from counterpoint.study.case import Arm, Case, Claim

FIXED = {"batch_size": 1024, "keep": "best"}
NOISE = {"noise": 0.1, "temperature": 0.2}
RATE = [0.005, 0.01]
TUNE = {"learning_rate": RATE, "contrast": [0.02, 0.05]}

CASE = Case(
    key="xsimgcl",
    data="movielens-100k",
    arms={
        "lightgcn": Arm(method="lightgcn", settings=FIXED, tune={"learning_rate": RATE, "layers": [1, 2]}),
        "sgl": Arm(method="sgl", settings={**FIXED, "dropped": 0.1, "temperature": 0.2}, tune=TUNE),
        "simgcl": Arm(method="simgcl", settings={**FIXED, **NOISE}, tune=TUNE),
        "xsimgcl": Arm(method="xsimgcl", settings={**FIXED, **NOISE}, tune=TUNE),
        "xsimgcl-no-noise": Arm(method="xsimgcl", settings={**FIXED, **NOISE, "noise": 0.0}, tune=TUNE),
    },
    baseline="lightgcn",
    budget={"examples": 1_192_500},
    seeds=5,
    trials=5,
    metrics=("ndcg@20", "recall@20", "tail_recall@20", "tail_share@20", "coverage@20", "uniformity"),
    claims=(
        Claim.better("contrast ranks better than LightGCN", "xsimgcl", "lightgcn"),
        Claim.better("it finds more of the rare items", "xsimgcl", "lightgcn", metric="tail_recall@20"),
        Claim.better(
            "embeddings are more uniform (less is more)", "lightgcn", "xsimgcl", metric="uniformity"
        ),
        Claim.better(
            "one propagation is not worse than SimGCL's three by 0.005", "xsimgcl", "simgcl", above=-0.005
        ),
        Claim.better("noise beats edge dropping", "xsimgcl", "sgl"),
        Claim.better("the noise is needed", "xsimgcl", "xsimgcl-no-noise"),
    ),
    notes=(
        "MovieLens-100k in place of Yelp2018, ratings of at least 4 as positives, random 72/8/20 split with seed 0.",
        "30 passes over the training pairs in batches of 1024 for every arm; each keeps its best epoch on validation. "
        "In a pilot on validation XSimGCL had its best epoch within 20 passes, LightGCN between 20 and 40.",
        "Every arm is tuned on validation over its published settings and four more points: the same two learning rates, "
        "with two weights of the contrast, or with one and two layers for LightGCN, which has no contrast.",
        "Noise 0.1 and temperature 0.2 are SimGCL's published values; XSimGCL's own (0.2, 0.15 with weight 0.2) are meant "
        "for a million pairs.",
    ),
)
