"""How the kernels of this package are compiled: by numba, at their first call, kept on disk for the next process."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
ANY_ORDER = {"reassoc", "contract", "nsz"}


def kernel(function: Function) -> Function:
    """Compile without the GIL, IEEE arithmetic in the order written: no fused multiply-add, no reassociation."""
    return _compiled(function)


def any_order(function: Function) -> Function:
    """As `kernel`, but sums may be taken in any order and multiply-adds fused: for results whose bound covers that."""
    return _compiled(function, fastmath=ANY_ORDER)


def part(function: Function) -> Function:
    """A part of `any_order` kernels, always inlined: a call would copy every field of every argument."""
    return _compiled(function, fastmath=ANY_ORDER, forceinline=True)


def _compiled(function: Function, **options: Any) -> Function:
    def compiled(keep: bool) -> Any:
        return numba.njit(nogil=True, cache=keep, error_model="numpy", **options)(function)

    try:
        dispatcher = compiled(keep=True)
        # Numba notices a change of the function's own file; parts of it, inlined, and constants of the bounds, which
        # a compiled function holds as they were, live in other files. So what they were is in the names of numba's
        # files: of others it reads nothing, neither old code nor types that are gone.
        cache = dispatcher._cache
        file = cache._cache_file
        base = f"{file._index_name.removesuffix('.nbi')}.{_sources()}"
        cache._cache_file = type(file)(file._cache_path, base, file._source_stamp)
        return dispatcher  # type: ignore[no-any-return]
    except (RuntimeError, AttributeError):
        # No folder can be written, neither beside the module nor the user's cache, or another numba keeps its cache
        # otherwise: compile every time.
        return compiled(keep=False)  # type: ignore[no-any-return]


@cache
def _sources() -> str:
    """What changes whenever a file does that a kernel of this package may be made of."""
    root = Path(__file__).parents[1]
    files = sorted([*root.glob("*.py"), *root.glob("short/*.py"), *root.glob("cpu/*.py")])
    found = [(str(file.relative_to(root)), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.sha256(str(found).encode()).hexdigest()[:12]
