"""Benchmarks: what a search costs, against the strongest alternative."""
