"""`python -m engine benchmark`: real encoders, timed by batch size."""

import time
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from engine.encoders.timing import FEWEST, WARM_UP, Timing, time_encoder
from mlrm.features import Features
from tests.engine.test_cli import error_of, run


class Slow:
    """An encoder that takes a known time, but for its first calls."""

    name, fingerprint, image_size, region_weight_power = "slow", "", 8, 1

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], torch.dtype]] = []

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        self.calls.append((tuple(images.shape), images.dtype))
        time.sleep(0.2 if len(self.calls) <= WARM_UP else 0.01)
        return Features((), torch.zeros(len(images), 3), torch.zeros(len(images), 3, 3))


def test_warm_up_is_not_timed_and_every_call_has_the_batch() -> None:
    encoder = Slow()
    timing = time_encoder(encoder, 3, seconds=0.0)
    assert timing.calls == FEWEST
    assert set(encoder.calls) == {((3, 3, 8, 8), torch.uint8)}
    assert 10 <= timing.median <= timing.ninety < 200


def test_it_goes_on_for_the_seconds_asked() -> None:
    assert time_encoder(Slow(), 1, seconds=0.2).calls > FEWEST


def test_images_a_second_count_the_whole_batch() -> None:
    assert Timing(batch=8, median=4.0, ninety=5.0, calls=9).images_a_second == 2000.0


def test_a_table_of_every_batch(checkpoint: Path) -> None:
    result = run("benchmark", "--model", checkpoint, "--device", "cpu", "--batch", 1, "--batch", 2, "--seconds", 0)
    rows = [line.split("│") for line in result.stdout.splitlines() if "│" in line]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [("torch", "1"), ("torch", "2")]
    assert all(float(row[3]) <= float(row[4]) for row in rows)
    assert "backend: torch (the reference" in result.stderr


def test_all_names_what_cannot_run_here(tmp_path: Path) -> None:
    result = run("benchmark", "--model", tmp_path / "m.engine", "--backend", "all", "--device", "cpu", code=1)
    assert "without tensorrt: backend 'tensorrt' runs on cuda, and the device is cpu" in result.stderr
    assert "no backend runs" in result.stderr


def test_all_goes_on_where_a_backend_cannot_read_the_file(tmp_path: Path) -> None:
    """As ONNX Runtime can't read bfloat16, and OpenVINO can."""
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    result = run("benchmark", "--model", tmp_path / "m.onnx", "--backend", "all", "--device", "cpu", code=1)
    assert "without onnx: " in result.stderr
    assert "without openvino: " in result.stderr
    assert "no backend runs" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch", 0), "--batch is 0; expected 1 or more"),
        (("--backend", "onnx"), "backend 'onnx' takes an .onnx file"),
        (("--device", "tpu"), "'tpu'"),
    ],
)
def test_what_cannot_be_timed_is_refused(checkpoint: Path, options: tuple[object, ...], said: str) -> None:
    assert said in error_of("benchmark", "--model", checkpoint, *options)
