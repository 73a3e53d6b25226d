"""Damaged image files, as they come with every large folder: an error that names them, no crash, no hang, no flood."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrm.errors import ImageError
from mlrm.images import load_image
from mlrm.procedural import CATEGORIES, draw_product, render_photo

LONGEST = 5.0  # seconds of one processor
MOST_MEMORY = 1 << 30
"""Bytes that the process may grow by: a picture of `MAX_PIXELS` pixels, as it is decoded and as it is converted."""
FORMATS = {"BMP": {}, "GIF": {}, "JPEG": {"quality": 80}, "PNG": {}, "PPM": {}, "TIFF": {}, "WEBP": {"quality": 80}}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """One drawn photo as a file of each format that is decoded."""
    picture = render_photo(draw_product(0, CATEGORIES[0]), 40)
    found = {}
    for name, options in FORMATS.items():
        buffer = io.BytesIO()
        picture.save(buffer, name, **options)
        found[name] = buffer.getvalue()
    return found


def _overwritten(data: bytes, place: int, new: bytes) -> bytes:
    start = place % len(data)
    return data[:start] + new + data[start + len(new) :]


mutations: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.builds(lambda place: lambda data: data[: place % len(data)], st.integers(0, 1 << 16)),
    # Most of what can go wrong is in the first bytes: sizes, counts, offsets.
    st.builds(
        lambda place, new: lambda data: _overwritten(data, place, new),
        st.integers(0, 200),
        st.binary(min_size=1, max_size=8),
    ),
    st.builds(
        lambda place, new: lambda data: _overwritten(data, place, new),
        st.integers(0, 1 << 16),
        st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x00\x00\x1f\x40", b"\xff\xda", b"IDAT"]),
    ),
    st.builds(
        lambda place, length: lambda data: data[: place % len(data)] + data[place % len(data) + length :],
        st.integers(0, 1 << 16),
        st.integers(1, 64),
    ),
)


def _peak_memory() -> int:
    import resource  # not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured as POSIX tells it")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_an_image_or_an_error_in_bounded_time_and_memory(files: dict[str, bytes], name: str) -> None:
    before = _peak_memory()

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=st.lists(mutations, min_size=1, max_size=4))
    def decode(steps: list[Callable[[bytes], bytes]]) -> None:
        data = files[name]
        for step in steps:
            data = step(data) or b"\0"
        began = time.thread_time()
        try:
            image = load_image(data)
        except ImageError:
            pass
        else:
            assert image.mode == "RGB"
        assert time.thread_time() - began < LONGEST

    decode()
    assert _peak_memory() - before < MOST_MEMORY
