"""The Triton rescoring kernel against the definition, bit by bit: on a GPU, or under Triton's interpreter.

`test_gpu_interpreter.py` runs this file in a process with TRITON_INTERPRET=1.
"""

from dataclasses import replace

import pytest
import torch

from benches.cases import KINDS, ODD_SHAPES, Case, Rows, draw
from kernels import gpu
from kernels.blocks import GalleryBlock
from kernels.reference import canonical_distance

pytest.importorskip("triton")

from tests.kernels.test_gpu import device as device  # a fixture

CASES = [Case(3, 9, 1, dtype, kind) for kind in KINDS for dtype in ("fp32", "fp16", "bf16")]
CASES += [replace(case, queries=2, photos=5) for case in ODD_SHAPES]
CASES += [Case(2, 5, 1, "fp16", "offset", (width,), 1) for width in (2, 33, 64, 65, 127, 128, 129, 320)]


def named(case: Case) -> str:
    return f"{case}-{case.regions}x{'+'.join(map(str, case.channels))}-p{case.power}"


def every_pair(queries: int, rows: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs of a whole matrix, row by row."""
    numbers = torch.arange(queries * rows, device=device)
    return numbers // rows, numbers % rows


def blocks_of(gallery: Rows, sizes: list[int]) -> list[GalleryBlock]:
    ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
    assert ends[-1] == len(gallery)
    return [GalleryBlock.of(gallery[slice(*ends[i : i + 2])]) for i in range(len(sizes))]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_bit_is_the_definitions(case: Case, device: torch.device) -> None:
    query, gallery = (side.to(device) for side in draw(case))
    owner, rows = every_pair(len(query), len(gallery), device)
    distance = gpu.rescore_pairs(query, owner, [GalleryBlock.of(gallery)], rows, case.power)
    assert distance.dtype == torch.float64
    assert torch.equal(distance.view(len(query), -1), canonical_distance(query, gallery, case.power))


def test_pairs_come_in_any_order_and_from_any_block(device: torch.device) -> None:
    """More than fit one program of the interpreter, some twice, blocks of one row and of none among them."""
    query, gallery = (side.to(device) for side in draw(Case(5, 40, 1, "fp16", "offset")))
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(5, (150,), generator=generator).to(device)
    rows = torch.randint(40, (150,), generator=generator).to(device)
    expected = canonical_distance(query, gallery)[owner, rows]
    for sizes in ([40], [0, 1, 19, 0, 20], [39, 1, 0]):
        assert torch.equal(gpu.rescore_pairs(query, owner, blocks_of(gallery, sizes), rows), expected)
    every_second = torch.stack((rows, rows), 1).flatten()[::2]
    assert torch.equal(gpu.rescore_pairs(query, owner, [GalleryBlock.of(gallery)], every_second), expected)


def test_types_and_strides_may_differ(device: torch.device) -> None:
    """Weights in float64 count with all their bits, and levels that aren't contiguous are read as they lie."""
    query, gallery = (side.to(device) for side in draw(Case(3, 20, 1, "fp16", "centred")))
    query = replace(query, levels=tuple(level.bfloat16() for level in query.levels))
    mixed = Rows(
        (gallery.levels[0].float(), *gallery.levels[1:]),
        gallery.region_weights.double() / 3,
        gallery.level_weights.double() / 7,
    )[slice(0, None, 2)]
    assert not mixed.levels[0].is_contiguous()
    owner, rows = every_pair(3, 10, device)
    distance = gpu.rescore_pairs(query, owner, [GalleryBlock.of(mixed)], rows, 2)
    assert torch.equal(distance.view(3, 10), canonical_distance(query, mixed, 2))


def test_a_row_of_no_block_has_no_distance(device: torch.device) -> None:
    query, gallery = (side.to(device) for side in draw(Case(1, 6, 1)))
    rows = torch.tensor([-1, 0, 5, 6, 2**40], device=device)
    distance = gpu.rescore_pairs(query, torch.zeros_like(rows), blocks_of(gallery, [2, 4]), rows)
    assert distance.isnan().tolist() == [True, False, False, True, True]


def test_no_pairs_give_no_distances(device: torch.device) -> None:
    query, gallery = (side.to(device) for side in draw(Case(1, 6, 1)))
    none = torch.empty(0, dtype=torch.int64, device=device)
    assert gpu.rescore_pairs(query, none, [GalleryBlock.of(gallery)], none).shape == (0,)
