"""The GPU's timer counts the round alone, not what makes the cache cold before it."""

import pytest
import torch

from benches.cuda_timer import CudaTimer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def test_the_flush_is_no_part_of_a_round_and_work_is() -> None:
    clock = CudaTimer(torch.device("cuda"))
    matrix = torch.rand(4096, 4096, device="cuda")

    def seconds(products: int) -> float:
        begin = clock.read()
        for _ in range(products):
            matrix @ matrix
        return clock.read() - begin

    seconds(1)
    empty, one, four = (min(seconds(products) for _ in range(5)) for products in (0, 1, 4))
    assert empty < one / 4
    assert 3 < four / one < 5
