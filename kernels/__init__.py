"""The retrieval operations of MLRM, each with an eager twin in `kernels.reference` that is its specification."""
