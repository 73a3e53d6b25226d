"""The declared measurements of encoders: which model, run how, on how many images, with how many threads."""

from dataclasses import dataclass
from itertools import product

from benches.cases import TRUNKS

BATCHES = (1, 8, 64)
WAYS = {
    "cpu": ("torch", "fp32-onnx", "bf16-openvino"),
    "cuda": ("torch", "torch-compile", "fp32-onnx", "fp16-onnx", "fp32-tensorrt", "fp16-tensorrt"),
}
"""By type of device: the encoders of every run, PyTorch eager first and last what its documentation recommends; what
they are is in `benches.encoders`."""
SWEPT_WAYS = {
    "cpu": (
        "torch-bf16",
        "torch-compile",
        "fp32-openvino",
        "fp16-onnx",
        "fp16-openvino",
        "fp32-openvino-bf16",
        "int8-onnx",
        "int8-openvino",
        "int8-openvino-bf16",
    ),
    "cuda": ("int8-onnx", "bf16-tensorrt", "int8-tensorrt"),
}
"""Those of a sweep besides: they take minutes to compile or to calibrate, or are slower than those of every run."""
PARTS = ("decode", "encode", "search", "whole")
"""Of a search by a sketch's file, and the call that does all of it."""
GALLERY_PHOTOS = 10_000


@dataclass(frozen=True)
class Encoding:
    """A batch of images through an encoder; reads densenet169-B8-T2-bf16-openvino."""

    trunk: str
    batch: int
    threads: int
    encoder: str

    def __str__(self) -> str:
        return f"{self.trunk}-B{self.batch}-T{self.threads}-{self.encoder}"


@dataclass(frozen=True)
class Part:
    """A part of the search by one sketch's file over a gallery on disk."""

    trunk: str
    encoder: str
    photos: int
    part: str

    def __str__(self) -> str:
        return f"{self.trunk}-G{self.photos}-{self.encoder}-{self.part}"


def encodings(device_type: str, sweep: bool, cores: int) -> tuple[Encoding, ...]:
    """What is measured, encoder by encoder; without `sweep` on all cores and in small batches."""
    ways = WAYS[device_type] + (SWEPT_WAYS[device_type] if sweep else ())
    threads = sorted({1, cores}) if sweep and device_type == "cpu" else [cores]
    batches = BATCHES if sweep or device_type == "cuda" else BATCHES[:2]
    return tuple(
        Encoding(trunk, batch, count, way) for trunk, way, count, batch in product(TRUNKS, ways, threads, batches)
    )


def parts(device_type: str, sweep: bool) -> tuple[Part, ...]:
    """The parts of a search that are measured, by both trunks; without `sweep` by the first and the last encoder."""
    ways = WAYS[device_type] if sweep else (WAYS[device_type][0], WAYS[device_type][-1])
    return tuple(Part(trunk, way, GALLERY_PHOTOS, part) for trunk, way, part in product(TRUNKS, ways, PARTS))
