"""Every kernel and tile compiles ahead of time for GPUs that aren't here: within their registers and shared memory."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benches.cases import TRUNKS
from kernels.gpu.tiles import POOL_TILE, Tile, candidates, defaults

pytest.importorskip("triton")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.gpu import direct, pool, product, rescore, short
from kernels.gpu.centred import CentredQuery
from kernels.gpu.operands import Appended, Matrix, Side
from kernels.gpu.short import Found
from kernels.gpu.short_codes import Photos, Sketches
from kernels.reference import LANES

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets kernels in this process; it compiles none"
)

SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Most bytes of a block, by compute capability (CUDA programming guide, table of technical specifications)."""

LATEST = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 9)
"""The compiler that tiles were chosen with. Older ones, which PyTorch's builds before 2.15 ask for, keep a few bytes
more than there are registers, and on sm_100 take the integer products of the generation before."""
SPILLED = 0 if LATEST else 64

POINTER = {2: "*fp16", 4: "*fp32"}


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel needs."""

    registers: int
    stack: int  # bytes of spilled registers, and of arrays that got no registers
    shared: int  # bytes
    assembly: str


def compiled(
    kernel: Any,
    arguments: dict[str, Any],
    constants: dict[str, Any],
    capability: int,
    warps: int,
    stages: int = 1,
    fusion: bool = True,
) -> Usage:
    """A kernel for a GPU that needn't be here. arguments: types by name, pointers all aligned to 16 bytes."""
    signature = {name: arguments.get(name, "constexpr") for name in kernel.arg_names}
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": fusion}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned(kernel, signature))
    program = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    path = next(Path(p) for p in program.metadata_group.values() if str(p).endswith(".cubin"))
    listed = subprocess.run(
        [tools / "cuobjdump", "--dump-resource-usage", path], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", listed)
    assert found, listed
    assert found[3] == "0"
    return Usage(int(found[1]), int(found[2]), program.metadata.shared, program.asm["ptx"])


def aligned(kernel: Any, signature: dict[str, Any]) -> dict[tuple[int, ...], list[list[Any]]]:
    """Every pointer of a signature, in tuples too, as divisible by 16: as PyTorch allocates them."""

    def pointers(path: tuple[int, ...], kind: Any) -> dict[tuple[int, ...], list[list[Any]]]:
        if isinstance(kind, tuple):
            return {k: v for i, one in enumerate(kind) for k, v in pointers((*path, i), one).items()}
        return {path: [["tt.divisibility", 16]]} if kind.startswith("*") else {}

    return pointers((), tuple(signature[name] for name in kernel.arg_names))


def distance_kernel(
    form: str,
    tile: Tile,
    capability: int,
    item_size: int,
    channels: tuple[int, ...],
    append: bool,
    bound: bool = True,
) -> Usage:
    rows = (POINTER[item_size],) * len(channels)
    gallery = Side(rows, "*fp32", "*fp32")
    sink = Appended("*i64", "i32", "*i32", "*fp32", "*i1") if append else Matrix("*fp32")
    arguments = {"gallery": gallery, "sink": sink, "queries": "i32", "start": "i32", "stop": "i32"}
    arguments |= {"scale": "fp32", "slack": "fp32"}
    constants = {"R": 3, "CHANNELS": channels, "POWER": 1, "BG": tile.rows, "BQ": tile.queries, "BC": tile.channels}
    constants |= {"APPEND": append}
    if form == "direct":
        query = Side(("*fp32",) * len(channels), "*fp32", "*fp32")
        constants |= {"BOUND": bound}
        return compiled(
            direct.direct_kernel, arguments | {"query": query}, constants, capability, tile.warps, tile.stages
        )
    centred = CentredQuery(rows, *("*fp32",) * 7)
    constants |= {"BP": product.columns_at_a_time(tile.queries), "WIDEN": False}
    arguments |= {"query": centred, "squares": "*fp32"}
    return compiled(product.product_kernel, arguments, constants, capability, tile.warps, tile.stages)


def check(usage: Usage, capability: int) -> None:
    assert usage.stack <= SPILLED, f"{usage.stack} bytes of spilled registers"
    assert usage.shared <= SHARED_MEMORY[capability]


def shipped(form: str) -> list[Any]:
    return [
        pytest.param(capability, item_size, tile, id=f"sm_{capability}-{item_size}B-{tile.rows}x{tile.queries}")
        for capability in SHARED_MEMORY
        for item_size in (2, 4)
        for tile in getattr(defaults(item_size, capability // 10), form)
    ]


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(("capability", "item_size", "tile"), shipped("direct"))
def test_the_direct_form_fits_without_spills(capability: int, item_size: int, tile: Tile, trunk: str) -> None:
    """Filling lists with bounds, and matrices with bounds and distances."""
    for append, bound in ((True, True), (False, True), (False, False)):
        check(distance_kernel("direct", tile, capability, item_size, TRUNKS[trunk], append, bound), capability)


@pytest.mark.parametrize(("capability", "item_size", "tile"), shipped("product"))
def test_the_product_form_fits_without_spills_and_uses_the_tensor_cores(
    capability: int, item_size: int, tile: Tile
) -> None:
    """With both trunks' channels where galleries are: in two bytes a value."""
    for trunk in TRUNKS if item_size == 2 else ("lite0",):
        usage = distance_kernel("product", tile, capability, item_size, TRUNKS[trunk], True)
        check(usage, capability)
        instruction = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}[capability]
        assert instruction in usage.assembly


@pytest.mark.parametrize("stored", ["*fp32", "*fp16", "*bf16"])
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_rescoring_fits_without_spills_and_rounds_every_operation(capability: int, trunk: str, stored: str) -> None:
    """What makes its bits the definition's, read in the assembly: nothing fused, approximated or flushed to zero."""
    query, gallery = (Side((kind,) * 3, "*fp32", "*fp32") for kind in ("*fp32", stored))
    arguments = {"query": query, "gallery": gallery, "owner": "*i64", "rows": "*i64", "out": "*fp64"}
    arguments |= dict.fromkeys(("pairs", "first", "count"), "i32")
    constants = {"R": 3, "CHANNELS": TRUNKS[trunk], "POWER": 1, "BP": 1, "BR": 4, "LANES": LANES}
    usage = compiled(rescore.rescore_kernel, arguments, constants, capability, rescore.WARPS, fusion=False)
    check(usage, capability)
    arithmetic = set(re.findall(r"\b(?:add|sub|mul|fma|mad|div|rcp|rsqrt|sqrt)[\w.]*\.f(?:16|32|64)\b", usage.assembly))
    assert arithmetic == {"sub.rn.f64", "mul.rn.f64", "add.rn.f64", "sqrt.rn.f64"}
    assert ".ftz" not in usage.assembly


@pytest.mark.parametrize("append", [False, True], ids=["all", "within limits"])
@pytest.mark.parametrize("tile", short.TILES, ids=["one", "many"])
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_the_screen_of_short_codes_fits_without_spills_and_uses_the_tensor_cores(
    capability: int, tile: Tile, append: bool
) -> None:
    """One program for all plans: how many coordinates a term keeps is read when it runs."""
    arguments = {
        "sketches": Sketches("*i8", "*fp32", "*fp32", "*fp32"),
        "photos": Photos("*i8", "*fp16", "*fp16", "*i32", "*i32"),
        "found": Found("*i64", "*fp32", "i32", "*i32", "*fp32", "*i1"),
    }
    arguments |= dict.fromkeys(("queries", "padded", "rows", "lines", "spans", "apart"), "i32") | {"slack": "fp32"}
    constants = {"TERMS": 9, "LEVELS": 3, "POWER": 2, "BG": tile.rows, "BQ": tile.queries, "BK": tile.channels}
    usage = compiled(
        short.screen_kernel, arguments, constants | {"APPEND": append}, capability, tile.warps, tile.stages
    )
    check(usage, capability)
    instruction = {80: r"mma\.sync.*\.s8", 90: r"wgmma\.mma_async.*\.s8", 100: r"tcgen05\.mma.*::i8"}
    assert re.search(instruction[capability if LATEST or capability < 100 else 80], usage.assembly)


@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_the_region_pool_fits_without_spills(capability: int) -> None:
    channels = TRUNKS["densenet169"]
    arguments = {
        "levels": ("*fp32",) * 3,
        "maps": "*fp32",
        "outs": ("*fp32",) * 3,
        "level_strides": (("i32",) * 3,) * 3,
        "map_strides": ("i32",) * 3,
    }
    constants = {"R": 3, "S": 64, "CHANNELS": channels, "BC": POOL_TILE.channels, "BR": 4, "BS": POOL_TILE.cells}
    check(compiled(pool.pool_kernel, arguments, constants, capability, POOL_TILE.warps), capability)


@pytest.mark.parametrize("capability", SHARED_MEMORY)
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("form", ["direct", "product"])
def test_every_candidate_fits_without_spills(
    form: str, trunk: str, capability: int, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--soak", default=False):
        pytest.skip("minutes of compiling; run with --soak")
    failed = []
    for item_size in POINTER:
        for tile in candidates(form, item_size, capability // 10):
            for append in (False, True):
                usage = distance_kernel(form, tile, capability, item_size, TRUNKS[trunk], append)
                if usage.stack or usage.shared > SHARED_MEMORY[capability]:
                    failed.append((item_size, tile, append, usage.stack, usage.shared))
    assert not failed
