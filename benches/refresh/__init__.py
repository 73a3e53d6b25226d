"""`python -m benches.refresh`: everything in the repository that depends on the shipped weights, made anew.

`registry.py` lists it; each file carries the fingerprint of the weights it was made with (`stamps.py`), and CI compares
that with the shipped ones.
"""
