"""The case of ddae: digits without prompts, drawn and recognised by one network; each of its two parts alone, both, and neither."""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

SHARED: dict[str, Any] = {"batch_size": 64, "ema": 0.995, "warmup": 0.0}
TUNE = {"learning_rate": [2e-3, 4e-3]}

CASE = Case(
    key="ddae",
    data="digits",
    data_options={"prompts": "none", "samples": "500"},
    model="dit-narrow:4",
    budget={"steps": 400},
    seeds=5,
    trials=2,
    baseline="edm",
    tune_by="probe",
    arms={
        "edm": Arm(method="edm", settings=SHARED, tune=TUNE),
        "self-conditioned": Arm(method="ddae", settings={**SHARED, "contrast.weight": 0.0}, tune=TUNE),
        "contrasted": Arm(method="ddae", settings={**SHARED, "conditioning": "none"}, tune=TUNE),
        "ddae": Arm(method="ddae", settings=SHARED, tune=TUNE),
    },
    metrics=(
        "probe",
        "probe_layer",
        "denoising",
        "denoising_permuted",
        "reliance",
        "frechet@18",
        "precision@18",
        "recall@18",
        *(f"probe_layer_{layer}@0.06" for layer in range(1, 6)),
    ),
    claims=(
        Claim.better(
            "contrast makes its features linearly more telling than the plain diffusion model's",
            "contrasted",
            "edm",
            metric="probe",
        ),
        Claim(
            text="the whole method draws pictures nearer to real ones than the plain diffusion model",
            contrast={"edm": 1.0, "ddae": -1.0},
            metric="frechet@18",
        ),
        Claim.better(
            "the whole method's features are linearly more telling than the plain diffusion model's",
            "ddae",
            "edm",
            metric="probe",
        ),
        Claim(
            text="the self-conditioned network relies on its own vector: with another picture's its error is larger",
            contrast={"self-conditioned": 1.0},
            metric="reliance",
            above=1.0,
        ),
    ),
    notes=(
        "8x8 pixels, a transformer of five blocks of width 48 on four patches, read at block 3, 400 steps of 64; the paper trains networks "
        "of 56 and 130 million weights on CIFAR and ImageNet for thousands of passes",
        "tuned by the linear probe on validation, for every arm alike; of the heads' and the contrast's settings none is tuned",
        "500 pictures in 18 of EDM's steps; the Frechet distance is in the hidden layer of scikit-learn's network trained on the training "
        "digits and is no ImageNet FID",
        "a pilot with one seed, 500 steps and a learning rate of 0.004 was looked at before the claims were written",
    ),
)
