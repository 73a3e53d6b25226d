"""Providers side by side: every way to search that the table compares, from the released program's to ours."""

from functools import partial

import torch

from benches.providers import codes, faiss_flat, keops, ours, released, tuned_torch
from benches.providers.base import Agreement, Provider, Searcher

__all__ = ["PROVIDERS", "Agreement", "Provider", "Searcher"]

SLOW_PAIRS = 2_000_000
GPU_CODES_PAIRS = 1_000_000
"""One sketch of a million photos, or ten of 100,000: more were not tried on a GPU yet."""


def _tuned(name: str, dtype: torch.dtype, devices: tuple[str, ...] = ("cpu", "cuda")) -> Provider:
    return Provider(
        f"torch-{name}",
        partial(tuned_torch.TunedTorch, dtype=dtype),
        devices=devices,
        why_not=partial(tuned_torch.why_not, dtype),
        needs=tuned_torch.needs(dtype.itemsize),
    )


def _kernels(impl: str, devices: tuple[str, ...], most_pairs: int | None = None) -> Provider:
    return Provider(
        f"kernels-{impl}",
        partial(ours.Kernels, impl=impl),
        Agreement.EXACT,
        devices,
        partial(ours.why_not, impl),
        ours.kernel_needs,
        most_pairs,
    )


def _faiss(name: str, half: bool, most_pairs: int | None = None) -> Provider:
    return Provider(
        f"faiss-{name}",
        partial(faiss_flat.FaissFlat, half=half),
        Agreement.OTHER,
        ("cpu",),  # what PyPI has of FAISS
        faiss_flat.why_not,
        partial(faiss_flat.needs, half),
        most_pairs,
    )


PROVIDERS = (
    Provider("released", released.Released, needs=released.needs),
    _tuned("fp32", torch.float32),
    _tuned("bf16", torch.bfloat16),
    _tuned("fp16", torch.float16, ("cuda",)),  # CPUs have no fast float16 product
    Provider("keops", keops.KeOps, why_not=keops.why_not, needs=keops.needs, most_pairs=SLOW_PAIRS),
    _faiss("fp16", True, SLOW_PAIRS),
    _faiss("fp32", False),
    _kernels("reference", ("cpu", "cuda"), SLOW_PAIRS),
    _kernels("cpu", ("cpu",)),
    Provider(
        "kernels-cpu-codes",
        ours.Packed,
        Agreement.EXACT,
        ("cpu",),
        ours.why_not_packed,
        ours.kernel_needs,
    ),
    _kernels("triton", ("cuda",)),
    Provider("codes", codes.Codes, Agreement.EXACT, ("cpu",), needs=codes.needs),
    Provider(
        "codes-triton",
        codes.Codes,
        Agreement.EXACT,
        ("cuda",),
        partial(ours.why_not, "triton"),
        codes.needs,
        GPU_CODES_PAIRS,
    ),
    Provider("engine", ours.Engine, Agreement.EXACT, why_not=partial(ours.why_not, "auto"), needs=ours.engine_needs),
)
"""In the order of the table."""
