"""Tuning: what it measures, keeps and writes; under Triton's interpreter, with a clock that is set.

`test_gpu_interpreter.py` runs this file in a process with TRITON_INTERPRET=1.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from triton.runtime.errors import OutOfResources

from kernels.gpu import tuning
from kernels.gpu.tiles import Tile, Tuning, read_tuned

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="for Triton's interpreter")

TILES = {
    "direct": (Tile(1, 16, 64, 4, 1), Tile(1, 32, 64, 4, 1), Tile(4, 16, 64, 4, 1)),
    "product": (Tile(16, 16, 16, 4, 1), Tile(16, 32, 16, 4, 1), Tile(32, 32, 16, 4, 1)),
}


def tuned(path: Path, monkeypatch: pytest.MonkeyPatch, milliseconds: list[float | Exception], lines: list[str]) -> None:
    """Tune on a device of the name "A Device"; the clock shows, or raises, what is listed, tile by tile."""
    clock = iter(milliseconds)

    def do_bench(launch: Callable[[], None], return_mode: str) -> float:
        launch()
        shown = next(clock)
        if isinstance(shown, Exception):
            raise shown
        return shown

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Device")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(tuning, "candidates", lambda form, item_size, capability: TILES[form])
    monkeypatch.setattr("triton.testing.do_bench", do_bench)
    tuning.tune(torch.device("cpu"), channels=(5, 8), regions=2, rows=40, path=path, say=lines.append)


def test_the_fastest_tile_of_each_number_of_queries_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And up to how many queries differences are faster than the smallest product, its queries prepared."""
    path, lines = tmp_path / "tuned" / "a-device.json", list[str]()
    too_large = OutOfResources(300_000, 200_000, "shared memory")
    tuned(path, monkeypatch, [2, 1, 3, 6, 2, 7, 5, 3, 2, 9, too_large, 8, 9, 8.5], lines)
    direct, product = TILES["direct"], TILES["product"]
    assert read_tuned(path) == {
        2: Tuning((direct[1], direct[2]), (product[1], product[2]), 4),
        4: Tuning((direct[1], direct[2]), (product[1], product[2]), 1),
    }
    assert json.loads(path.read_text())["device"] == "A Device"
    assert len(lines) == 14
    assert "shared memory" in lines[10]


def test_what_was_found_is_kept_when_the_rest_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lines = tmp_path / "a-device.json", list[str]()
    none = [OutOfResources(300_000, 200_000, "shared memory")] * 3
    with pytest.raises(RuntimeError, match=r"no product tile for torch.float32 fits A Device; add a smaller one"):
        tuned(path, monkeypatch, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, *none], lines)
    assert [*read_tuned(path)] == [2]
