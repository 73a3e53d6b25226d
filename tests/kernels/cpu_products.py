"""The integer products of the processor, as parameters of tests: those that this one lacks are skipped by name."""

import pytest

from kernels.cpu import amx, amx_bfloat16, avx2, products, vnni
from kernels.cpu.products import Product

_THERE: dict[Product, bool] = {"amx": amx.available(), "vnni": vnni.available(), "avx2": avx2.available()}
NAMES = tuple(_THERE)
BY_LANES = tuple(name for name in NAMES if name != "amx" and _THERE[name])
needs_a_product = pytest.mark.skipif(products.fastest() is None, reason="this processor's search uses no codes")
needs_bfloat16_units = pytest.mark.skipif(not amx_bfloat16.available(), reason="this processor has no AMX for bfloat16")


def skipped_without(name: Product) -> pytest.MarkDecorator:
    """The mark of a parameter that needs the product."""
    return pytest.mark.skipif(not _THERE[name], reason=f"this processor has no {name.upper()}")


PRODUCTS = [pytest.param(name, marks=skipped_without(name)) for name in NAMES]
