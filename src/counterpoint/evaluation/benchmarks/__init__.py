"""Benchmarks that others keep, measured beside a kind's own figures: MTEB, lm-evaluation-harness and folders as BEIR has them.

One is named ``mteb:TASK``, ``lm-eval:TASK`` or ``beir:FOLDER``; its figures stand among those of test, under ``NAME metric``.
"""
