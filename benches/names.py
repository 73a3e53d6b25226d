"""Names of the providers that goals and comparisons speak of; what they are is in `benches.providers`."""

TUNED = ("torch-fp32", "torch-bf16", "torch-fp16")
"""What our implementations must beat."""

OURS = ("kernels-reference", "kernels-cpu", "kernels-cpu-codes", "kernels-triton", "codes", "codes-triton", "engine")
"""Whose answers must be exact, and whose times are tracked."""
