"""Provers behind one interface: Metamath, Coq, Lean 4, and rewriting of words; what a model wrote is checked in isolation."""
