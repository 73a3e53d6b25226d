"""Segments: what goes in comes out bit for bit, what can't be stored is refused by name, damage is found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from engine.errors import FeatureShapeError, FeatureValueError, GalleryCorruptError
from engine.features import FeatureBlock, FeatureShapes
from engine.segments import open_segment, remove_orphans, verify_segment, write_segment
from engine.tensor_file import ALIGNMENT, read_header
from tests.engine.kill_writer import block_of

SHAPES = FeatureShapes(regions=3, level_dims=(2, 4), map_size=(2, 3))
IDS = ["first", "second", "third"]


def block() -> FeatureBlock:
    return block_of([0, 1, 2], SHAPES)


def with_value(name: str, where: tuple[int, ...], value: float, dtype: Any = np.float32) -> FeatureBlock:
    """A good block but for one value."""
    arrays = {key: array.astype(dtype) for key, array in block().arrays().items()}
    arrays[name][where] = value
    return FeatureBlock(
        (arrays["level_0"], arrays["level_1"]),
        arrays["region_weights"],
        arrays["level_weights"],
        arrays["maps"],
    )


def test_shapes_survive_json() -> None:
    assert FeatureShapes.from_json(SHAPES.to_json()) == SHAPES


@pytest.mark.parametrize(
    "shapes",
    [(0, (2,), (2, 2)), (1, (), (2, 2)), (1, (2, 0), (2, 2)), (1, (2,), (0, 2)), (1, (2,), (2, 2, 2))],
)
def test_empty_shapes_are_refused(shapes: Any) -> None:
    with pytest.raises(FeatureShapeError, match="at least one"):
        FeatureShapes(*shapes)


def test_a_block_knows_its_shapes() -> None:
    assert block().shapes == SHAPES
    assert len(block()) == 3


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("levels", (np.zeros((3, 3, 2), np.int64),), "level_0 is int64; expected floating point"),
        ("levels", (np.zeros((3, 3), np.float32),), "3 dimensions"),
        ("levels", (np.zeros((2, 3, 2), np.float32), np.zeros((3, 3, 2), np.float32)), "level_0 has shape"),
        ("levels", (), "level_weights has shape"),
        ("region_weights", np.zeros((3, 4), np.float32), "level_weights has shape"),
        ("level_weights", np.zeros((3, 3, 1), np.float32), r"expected \[N, R, L\] = \(3, 3, 2\)"),
        ("maps", np.zeros((3, 3, 2, 2), np.int32), "floating point or uint8"),
        ("maps", np.zeros((3, 2, 2, 2), np.float32), "maps has shape"),
        ("maps", np.zeros((3, 3, 4), np.float32), "4 dimensions"),
    ],
)
def test_arrays_that_disagree_are_refused(name: str, array: Any, message: str) -> None:
    with pytest.raises(FeatureShapeError, match=message):
        replace(block(), **{name: array})


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        ("level_1", (1, 2, 3), np.nan),
        ("level_1", (1, 2, 3), np.inf),
        ("level_1", (1, 2, 3), -np.inf),
        ("level_1", (1, 2, 3), 65505.0),
        ("level_1", (1, 2, 3), -1e5),
        ("region_weights", (1, 2), -0.001),
        ("region_weights", (1, 2), np.nan),
        ("region_weights", (1, 2), np.inf),
        ("level_weights", (1, 2, 1), -1.0),
        ("level_weights", (1, 2, 1), np.nan),
        ("maps", (1, 2, 0, 1), 1.01),
        ("maps", (1, 2, 0, 1), -0.01),
        ("maps", (1, 2, 0, 1), np.nan),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_cannot_be_stored_are_refused_by_name(
    name: str, where: tuple[int, ...], value: float, dtype: Any
) -> None:
    with pytest.raises(FeatureValueError, match=f"'second', {name.replace('_1', ' 1')}, region 2: found"):
        with_value(name, where, value, dtype).validate(IDS)


def test_a_weight_beyond_float32_is_refused() -> None:
    with pytest.raises(FeatureValueError, match="region_weights"):
        with_value("region_weights", (0, 0), 1e300, np.float64).validate(IDS)


def test_nan_in_float16_is_refused() -> None:
    with pytest.raises(FeatureValueError, match="nan"):
        with_value("level_0", (0, 0, 0), np.nan, np.float16).validate(IDS)


def test_the_largest_float16_is_stored() -> None:
    extreme = with_value("level_0", (0, 0, 0), -65504.0)
    extreme.validate(IDS)
    assert extreme.encoded().levels[0][0, 0, 0] == -65504.0


def test_ids_must_match_the_photos() -> None:
    with pytest.raises(FeatureShapeError, match="found 2 ids for the features of 3 photos"):
        block().validate(IDS[:2])


def test_maps_are_rounded_to_255_steps() -> None:
    values = np.array([0.0, 1.0, 0.5, 0.499 / 255, 0.501 / 255, 254.4 / 255], np.float32)
    found = replace(block_of([0], FeatureShapes(1, (2,), (1, 6))), maps=values.reshape(1, 1, 1, 6))
    assert found.encoded().maps.ravel().tolist() == [0, 255, 128, 0, 1, 254]


def test_uint8_maps_are_stored_as_they_are() -> None:
    maps = np.arange(54, dtype=np.uint8).reshape(3, 3, 2, 3)
    assert np.array_equal(replace(block(), maps=maps).encoded().maps, maps)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), photos=st.integers(1, 4))
def test_what_is_stored_comes_back_bit_for_bit(tmp_path: Path, data: st.DataObject, photos: int) -> None:
    def draw(dtype: Any, *shape: int) -> Any:
        """Any bits at all, subnormals and -0.0 included; what isn't finite becomes 0."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        values = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
        return np.where(np.isfinite(values), values, 0).astype(dtype)

    stored = FeatureBlock(
        levels=tuple(draw(np.float16, photos, 3, channels) for channels in SHAPES.level_dims),
        region_weights=np.abs(draw(np.float32, photos, 3)),
        level_weights=np.abs(draw(np.float32, photos, 3, 2)),
        maps=draw(np.uint8, photos, 3, 2, 3),
    )
    stored.validate([str(index) for index in range(photos)])
    found = open_segment(tmp_path, write_segment(tmp_path, stored.encoded()), SHAPES)
    for name, array in found.arrays().items():
        assert array.tobytes() == stored.arrays()[name].tobytes()
        assert not array.flags.writeable


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    plain = block()
    transposed = replace(plain, levels=tuple(np.asfortranarray(level) for level in plain.levels))
    stored = [write_segment(tmp_path, each.encoded()) for each in (plain, transposed)]
    assert stored[0].sha256 == stored[1].sha256


def test_a_block_of_any_dtype_is_stored_in_the_same_bytes(tmp_path: Path) -> None:
    half = with_value("level_0", (0, 0, 0), 0.5, np.float16)
    wide = FeatureBlock(
        tuple(level.astype(np.float64) for level in half.levels),
        half.region_weights.astype(np.float64),
        half.level_weights.astype(np.float64),
        half.maps.astype(np.float64),
    )
    assert write_segment(tmp_path, half.encoded()).sha256 == write_segment(tmp_path, wide.encoded()).sha256


def test_the_library_reads_a_segment(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    found = load_file(stored.path(tmp_path))
    for name, array in block().encoded().arrays().items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes())
        assert found[name].shape == array.shape
    assert all(name.startswith("padding_") for name in found.keys() - block().arrays())


@pytest.mark.parametrize("photos", [1, 2, 3, 63])
def test_arrays_begin_at_multiples_of_64_bytes(tmp_path: Path, photos: int) -> None:
    odd = FeatureShapes(regions=3, level_dims=(1, 5, 7), map_size=(3, 3))
    stored = write_segment(tmp_path, block_of(list(range(photos)), odd).encoded())
    content = stored.path(tmp_path).read_bytes()
    starts = {name: array.start for name, array in read_header(content).items() if not name.startswith("padding_")}
    assert len(starts) == 6
    assert {start % ALIGNMENT for start in starts.values()} == {0}
    for array in open_segment(tmp_path, stored, odd).arrays().values():
        assert array.ctypes.data % ALIGNMENT == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc here to count open files in")
def test_an_open_segment_costs_one_descriptor(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    path = str(stored.path(tmp_path).resolve())

    def open_files() -> int:
        """Descriptors of this segment; others come and go with the garbage collector."""
        descriptors = Path("/proc/self/fd").iterdir()
        return [os.path.realpath(descriptor) for descriptor in descriptors].count(path)

    opened = [open_segment(tmp_path, stored, SHAPES) for _ in range(10)]
    assert open_files() == len(opened)
    del opened
    assert open_files() == 0


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty"])
def test_a_file_of_another_length_is_named(tmp_path: Path, damage: str) -> None:
    stored = write_segment(tmp_path, block().encoded())
    path = stored.path(tmp_path)
    whole = path.read_bytes()
    contents = {"truncated": whole[:-1], "longer": whole + b"\0", "empty": b""}
    path.unlink()
    if damage in contents:
        path.write_bytes(contents[damage])
    found = f"has {len(contents[damage])} bytes" if damage in contents else "is missing"
    for use in (lambda: open_segment(tmp_path, stored, SHAPES), lambda: verify_segment(tmp_path, stored)):
        with pytest.raises(GalleryCorruptError, match=rf"{path.name}: it {found}, expected {len(whole)}"):
            use()


def _with_header(entries: Any) -> Callable[[bytes], bytes]:
    """The same data under another header, filled up to the length of the old one."""

    def change(whole: bytes) -> bytes:
        length = int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8 : 8 + length])
        text = json.dumps(entries(header) if callable(entries) else entries, separators=(",", ":")).encode()
        assert len(text) <= length
        return whole[:8] + text.ljust(length) + whole[8 + length :]

    return change


def _entry(name: str, **changes: Any) -> Callable[[bytes], bytes]:
    return _with_header(lambda header: header | {name: header[name] | changes})


HEADERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "noise": (lambda whole: b"\xff" * len(whole), "header of 18446744073709551615 bytes ends beyond the file's"),
    "longer than the file": (lambda whole: len(whole).to_bytes(8, "little") + whole[8:], "ends beyond the file's"),
    "no JSON": (lambda whole: whole[:8] + b"?" + whole[9:], "header is no JSON"),
    "no text": (lambda whole: whole[:8] + b"\xff" + whole[9:], "header is (damaged|no JSON)"),
    "a list": (_with_header([]), "header is damaged"),
    "deep": (lambda whole: whole[:8] + b"[" * (len(whole) - 8), "header is (damaged|no JSON)"),
    "a number for an entry": (_with_header({"level_0": 1}), "header is damaged"),
    "no offsets": (_with_header({"level_0": {"dtype": "F16", "shape": [3, 3, 2]}}), "header is damaged.*data_offsets"),
    "infinite offset": (_entry("level_0", data_offsets=[0, float("inf")]), "header is damaged"),
    "beyond the end": (_entry("level_0", data_offsets=[99999, 100035]), r"level_0 of shape \(3, 3, 2\) lies at 99999"),
    "before the data": (_entry("level_0", data_offsets=[-64, -28]), "level_0 .* lies at -64"),
    "backwards": (_entry("level_0", data_offsets=[36, 0]), "level_0 .* lies at 36 to 0"),
    "offsets of another size": (_entry("level_0", data_offsets=[0, 34]), "level_0 .* lies at 0 to 34"),
    "negative shape": (_entry("level_0", shape=[-3, -3, 4]), r"level_0 of shape \(-3, -3, 4\)"),
    "another type": (
        _entry("region_weights", dtype="U8", shape=[3, 12]),
        r"region_weights is uint8 \(3, 12\), expected",
    ),
    "unknown type": (_entry("level_0", dtype="F8"), "header is damaged.*F8"),
    "another shape": (
        _entry("maps", shape=[3, 3, 3, 2]),
        r"maps is uint8 \(3, 3, 3, 2\), expected uint8 \(3, 3, 2, 3\)",
    ),
    "an array missing": (_with_header(lambda header: {k: header[k] for k in header if k != "maps"}), "holds no maps"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_damaged_header_is_corrupt(tmp_path: Path, name: str) -> None:
    """The length is right, so nothing but the header's own bounds is left to catch it."""
    damage, message = HEADERS[name]
    stored = write_segment(tmp_path, block().encoded())
    path = stored.path(tmp_path)
    whole = path.read_bytes()
    damaged = damage(whole)
    assert len(damaged) == len(whole)
    path.write_bytes(damaged)
    with pytest.raises(GalleryCorruptError, match=rf"{path.name}: .*{message}"):
        open_segment(tmp_path, stored, SHAPES)


def test_a_segment_of_other_shapes_is_corrupt(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    with pytest.raises(GalleryCorruptError, match=r"level_0 is float16 \(3, 3, 2\), expected float16 \(3, 3, 4\)"):
        open_segment(tmp_path, stored, replace(SHAPES, level_dims=(4, 2)))
    with pytest.raises(GalleryCorruptError, match="holds no level_2"):
        open_segment(tmp_path, stored, replace(SHAPES, level_dims=(2, 4, 1)))


def test_a_flipped_bit_is_found_by_verify_only(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    verify_segment(tmp_path, stored)
    path = stored.path(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    open_segment(tmp_path, stored, SHAPES)
    with pytest.raises(GalleryCorruptError, match=rf"{path.name}: its SHA-256"):
        verify_segment(tmp_path, stored)


def test_orphans_go_and_the_rest_stays(tmp_path: Path) -> None:
    kept, orphan = (write_segment(tmp_path, block().encoded()) for _ in range(2))
    (tmp_path / ".tmp-0123").write_bytes(b"half")
    (tmp_path / "a file that is not ours").touch()
    assert {kept.path(tmp_path), orphan.path(tmp_path)} < set(tmp_path.iterdir())
    remove_orphans(tmp_path, keep={kept.name})
    assert {entry.name for entry in tmp_path.iterdir()} == {kept.path(tmp_path).name, "a file that is not ours"}
