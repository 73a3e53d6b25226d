"""The integer matrix product on Intel's matrix units: AMX, 16,384 multiply-adds an instruction, 8 times VNNI's rate.

A tile that straddles cache lines is loaded at a third of the speed, so codes and queries begin at one.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from kernels.cpu.tile import REGISTERS, TILE_ROWS, host_features

TILE_QUERIES = 16
STEPS = 16
"""Steps of 4 channels that one instruction adds up."""
QUERY_TILE, ROW_TILE = 6, 7
"""Of the unit's eight tiles; the first six are the sums of twice 16 queries and three times 16 rows."""
ROW_BYTES = 64
CONFIGURATION = np.zeros(64, np.uint8)
"""What `configure` takes (Intel SDM, "Tile configuration"): palette 1, of eight tiles of 16 rows of 64 bytes."""
CONFIGURATION[0], CONFIGURATION[16:32:2], CONFIGURATION[48:56] = 1, ROW_BYTES, TILE_QUERIES


@cache
def available() -> bool:
    """Whether this processor has the instructions and the operating system lets this process use them."""
    features = host_features()
    return bool(features.get("amx-tile") and features.get("amx-int8")) and _permitted()


def _permitted() -> bool:
    """Ask Linux for the tiles' state: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)."""
    if platform.system() != "Linux":
        return False
    try:
        return bool(ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0)
    except (OSError, AttributeError):
        return False


def call(builder: Any, name: str, kinds: list[Any], arguments: list[Any]) -> None:
    """One of the unit's instructions, for those who build kernels' parts themselves."""
    kind = ir.FunctionType(ir.VoidType(), kinds)
    builder.call(builder.module.declare_intrinsic(f"llvm.x86.{name}", (), kind), arguments)


def _configure(typing_context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Make this thread's tiles ready, as the 64 bytes at `address` say (Intel SDM, "Tile configuration")."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        call(builder, "ldtilecfg", [pointer], [builder.inttoptr(arguments[0], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _release(typing_context: Any) -> tuple[Any, Callable[..., Any]]:
    """Give this thread's tiles back."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        call(builder, "tilerelease", [], [])
        return context.get_dummy_value()

    return types.void(), generate


def _multiply(
    typing_context: Any, codes: Any, queries: Any, apart: Any, blocks: Any, out: Any, groups: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[g, q, n] = sum over blocks and their channels of queries * codes, exact in 32 bits.

    Addresses of: codes uint8 [STEPS * blocks, TILE_ROWS, 4]; queries int8 [blocks, TILE_QUERIES, ROW_BYTES], the second
    group `apart` bytes behind the first; out int32 [groups, TILE_QUERIES, TILE_ROWS]. groups: 1 or 2, a literal. As
    many queries of a group are computed as the tiles are configured for.
    """
    byte, wide = ir.IntType(8), ir.IntType(64)
    pointer = byte.as_pointer()
    sums = range(groups.literal_value * REGISTERS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, queries, apart, blocks, out, _ = arguments

        def move(name: str, tile: int, address: Any, stride: int) -> None:
            place = builder.inttoptr(address, pointer)
            call(builder, name, [byte, pointer, wide], [byte(tile), place, wide(stride)])

        for tile in sums:
            call(builder, "tilezero", [byte], [byte(tile)])
        before = builder.block
        loop = builder.append_basic_block("blocks")
        done = builder.append_basic_block("sums")
        builder.branch(loop)

        builder.position_at_end(loop)
        block = builder.phi(wide)
        here = builder.add(codes, builder.mul(block, wide(STEPS * TILE_ROWS * 4)))
        there = builder.add(queries, builder.mul(block, wide(TILE_QUERIES * ROW_BYTES)))
        for tile in sums:
            group, column = divmod(tile, REGISTERS)
            if column == 0:
                move("tileloadd64", QUERY_TILE, builder.add(there, apart) if group else there, ROW_BYTES)
            move("tileloadd64", ROW_TILE, builder.add(here, wide(column * ROW_BYTES)), TILE_ROWS * 4)
            call(builder, "tdpbsud", [byte] * 3, [byte(tile), byte(QUERY_TILE), byte(ROW_TILE)])
        following = builder.add(block, wide(1))
        builder.cbranch(builder.icmp_signed("<", following, blocks), loop, done)
        block.add_incoming(wide(0), before)
        block.add_incoming(following, loop)

        builder.position_at_end(done)
        for tile in sums:
            group, column = divmod(tile, REGISTERS)
            place = builder.add(out, wide(group * TILE_QUERIES * TILE_ROWS * 4 + column * ROW_BYTES))
            move("tilestored64", tile, place, TILE_ROWS * 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64, groups), generate


configure = cast(Callable[[int], None], intrinsic(_configure))
release = cast(Callable[[], None], intrinsic(_release))
multiply = cast(Callable[[int, int, int, int, int, int], None], intrinsic(prefer_literal=True)(_multiply))
