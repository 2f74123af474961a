"""Runs a reproduction case and writes its evidence."""

from counterpoint.study.case import Arm, Case, Claim

__all__ = ["Arm", "Case", "Claim"]
