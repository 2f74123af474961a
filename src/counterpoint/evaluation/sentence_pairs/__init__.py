"""Figures of sentence encoders on pairs, triplets and scored pairs."""
