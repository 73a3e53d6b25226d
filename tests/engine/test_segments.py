"""Segments: what goes in comes out bit for bit, what can't be stored is refused by name, damage is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import FeatureShapeError, FeatureValueError, GalleryCorruptError
from engine.features import FeatureBlock, FeatureShapes
from engine.segments import open_segment, remove_orphans, verify_segment, write_segment
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
    files = [write_segment(tmp_path, each.encoded()).files for each in (plain, transposed)]
    assert files[0] == files[1]


def test_a_block_of_any_dtype_is_stored_in_the_same_bytes(tmp_path: Path) -> None:
    half = with_value("level_0", (0, 0, 0), 0.5, np.float16)
    wide = FeatureBlock(
        tuple(level.astype(np.float64) for level in half.levels),
        half.region_weights.astype(np.float64),
        half.level_weights.astype(np.float64),
        half.maps.astype(np.float64),
    )
    assert write_segment(tmp_path, half.encoded()).files == write_segment(tmp_path, wide.encoded()).files


@pytest.mark.parametrize("name", ["level_0.npy", "level_1.npy", "region_weights.npy", "level_weights.npy", "maps.npy"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty", "noise", "pickle"])
def test_damaged_files_are_named(tmp_path: Path, name: str, damage: str) -> None:
    stored = write_segment(tmp_path, block().encoded())
    path = tmp_path / stored.name / name
    whole = path.read_bytes()
    expected = f"expected {len(whole)}"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(whole[:-1])
        expected = f"{len(whole) - 1} bytes, expected {len(whole)}"
    elif damage == "longer":
        path.write_bytes(whole + b"\0")
    elif damage == "empty":
        path.write_bytes(b"")
        expected = f"0 bytes, expected {len(whole)}"
    else:
        begin = b"\x80\x04" if damage == "pickle" else b"\xff"
        path.write_bytes(begin + bytes(len(whole) - len(begin)))
        expected = "not a NumPy array"
    with pytest.raises(GalleryCorruptError, match=f"{name}.*{expected}"):
        open_segment(tmp_path, stored, SHAPES)


def test_a_segment_of_other_shapes_is_corrupt(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    with pytest.raises(GalleryCorruptError, match=r"level_0\.npy.*\(3, 3, 2\), expected float16 \(3, 3, 4\)"):
        open_segment(tmp_path, stored, replace(SHAPES, level_dims=(4, 2)))
    with pytest.raises(GalleryCorruptError, match="does not record"):
        open_segment(tmp_path, stored, replace(SHAPES, level_dims=(2, 4, 1)))


def test_a_flipped_bit_is_found_by_verify_only(tmp_path: Path) -> None:
    stored = write_segment(tmp_path, block().encoded())
    verify_segment(tmp_path, stored)
    path = tmp_path / stored.name / "level_1.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    open_segment(tmp_path, stored, SHAPES)
    with pytest.raises(GalleryCorruptError, match=r"level_1\.npy: its SHA-256"):
        verify_segment(tmp_path, stored)


def test_orphans_go_and_the_rest_stays(tmp_path: Path) -> None:
    kept, orphan = (write_segment(tmp_path, block().encoded()).name for _ in range(2))
    (tmp_path / ".tmp-0123").mkdir()
    (tmp_path / ".tmp-0123" / "level_0.npy").write_bytes(b"half")
    (tmp_path / "a file that is not ours").touch()
    remove_orphans(tmp_path, keep={kept})
    assert {entry.name for entry in tmp_path.iterdir()} == {kept, "a file that is not ours"}
    assert orphan != kept
