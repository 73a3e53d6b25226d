"""Pictures are read back: what is where, in which colour, and that nothing is cut or drawn over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.drawing import text_width
from engine.explain import Explanation
from engine.heatmap import colour_bar, colours, overlay
from engine.picture import HITS_A_ROW, Hit, draw_explanation, draw_results

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

SKETCH: Colour = (250, 240, 10)
GREEN, RED, BLUE, PLACEHOLDER = (26, 150, 65), (215, 48, 39), (69, 117, 180), (190, 190, 190)
NASTY_IDS = [
    "a" * 1024,
    "W" * 200,
    "靴/写真.jpg",
    "😀\U0001f45f",
    "line\nbreak\ttab\0",
    "\ud800 lone surrogate",
    "\u202eright to left עברית",
    " ",
]


def plain(colour: Colour, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


def own_colour(index: int) -> Colour:
    """A colour for hit ``index`` that no other part of a picture has."""
    return (3 + index, 90, 201)


def maps_of(regions: int, seed: int = 0) -> NDArray[np.float32]:
    """Maps [R, 8, 8] as LAMA makes them: three cells of at least 0.5."""
    logits = np.random.default_rng(seed).normal(0, 3, (regions, 64))
    third = np.sort(logits)[:, -3:-2]
    return (1 / (1 + np.exp(third - logits))).reshape(regions, 8, 8).astype(np.float32)


def hit_of(index: int, regions: int = 3, **changes: object) -> Hit:
    fields: dict[str, object] = {
        "id": f"photo-{index}",
        "rank": index + 1,
        "distance": 0.5 + index / 10,
        "image": plain(own_colour(index)),
        "maps": maps_of(regions, index),
        "region_weights": np.full(regions, 1 / regions),
    }
    return Hit(**(fields | changes))  # type: ignore[arg-type]


def results(hits: Sequence[Hit], regions: int = 3, truth: str | None = None) -> NDArray[np.uint8]:
    picture = draw_results(
        plain(SKETCH),
        hits,
        sketch_maps=maps_of(regions),
        sketch_region_weights=np.full(regions, 1 / regions),
        truth=truth,
    )
    assert picture.mode == "RGB"
    return np.asarray(picture)


def explanation(regions: int = 3, levels: int = 3, **changes: object) -> Explanation:
    contributions = np.random.default_rng(1).uniform(0.01, 0.2, (regions, levels))
    fields: dict[str, object] = {
        "id": "photo",
        "distance": float(contributions.sum()),
        "contributions": contributions,
        "sketch_maps": maps_of(regions, 1),
        "photo_maps": maps_of(regions, 2),
        "sketch_region_weights": np.full(regions, 1 / regions, np.float32),
        "photo_region_weights": np.full(regions, 1 / regions, np.float32),
        "sketch": plain(SKETCH),
        "photo": plain(own_colour(0)),
    }
    return Explanation(**(fields | changes))  # type: ignore[arg-type]


def box_of(pixels: NDArray[np.uint8], colour: Colour) -> Box:
    """The smallest box (left, top, right, bottom) that holds all pixels of a colour."""
    rows, columns = np.nonzero((pixels == colour).all(axis=-1))
    assert rows.size, f"no pixel of {colour}"
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def placeholders_of(pixels: NDArray[np.uint8]) -> Box:
    """The smallest box that holds all placeholders; a stray pixel of their grey may be in any letter."""
    found = (pixels == PLACEHOLDER).all(axis=-1)
    columns, rows = np.flatnonzero(found.sum(axis=0) > 100), np.flatnonzero(found.sum(axis=1) > 100)
    assert rows.size, "no placeholder"
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def is_there(pixels: NDArray[np.uint8], colour: Colour) -> bool:
    return bool((pixels == colour).all(axis=-1).any())


def margin_is_white(pixels: NDArray[np.uint8], width: int = 20) -> bool:
    inner = np.ones(pixels.shape[:2], bool)
    inner[width:-width, width:-width] = False
    return bool((pixels[inner] == 255).all())


# --- heat maps


def test_an_overlay_shows_a_cell_by_its_value_whatever_the_other_cells_are() -> None:
    one, other = np.zeros((8, 8)), np.zeros((8, 8))
    one[2, 5] = other[2, 5] = 0.5
    other[6, 1] = 1.0
    image = plain((255, 255, 255), (256, 256))
    centre = (5 * 32 + 16, 2 * 32 + 16)
    assert overlay(image, one).getpixel(centre) == overlay(image, other).getpixel(centre)


def test_a_strong_cell_is_coloured_and_a_map_of_zeros_leaves_grey() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    grey = np.asarray(overlay(image, np.zeros((8, 8))))
    assert (np.ptp(grey, axis=-1) == 0).all()
    strong = np.zeros((8, 8))
    strong[4, 4] = 1.0
    coloured = np.asarray(overlay(image, strong))
    assert np.ptp(coloured[45, 45].astype(int)) > 100
    assert (coloured[:20, :20] == grey[:20, :20]).all()


def test_a_map_is_not_flipped_or_turned() -> None:
    region_map = np.zeros((4, 8))
    region_map[0, 7] = 1.0  # the right upper corner
    pixels = np.asarray(overlay(plain((255, 255, 255), (80, 40)), region_map)).astype(int)
    rows, columns = np.nonzero(np.ptp(pixels, axis=-1) > 100)
    assert rows.max() < 20
    assert columns.min() >= 60


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (8, 8)])
def test_an_overlay_has_the_size_of_its_image(size: tuple[int, int]) -> None:
    assert overlay(plain((9, 9, 9), size), maps_of(1)[0]).size == size


def test_colours_are_brighter_for_higher_values() -> None:
    luminance = colours(np.linspace(0, 1, 101)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()
    assert colour_bar((64, 5)).size == (64, 5)


@pytest.mark.parametrize(
    "region_map",
    [np.full((8, 8), 1.01), np.full((8, 8), np.nan), np.full((8, 8), 255, np.uint8), maps_of(3), np.zeros((0, 8))],
)
def test_a_map_of_other_values_or_shape_is_refused(region_map: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"found a region map of shape .* expected \[h, w\] with"):
        overlay(plain(SKETCH), region_map)


def test_an_image_that_is_not_rgb_is_refused() -> None:
    with pytest.raises(ValueError, match="mode RGBA; expected RGB"):
        overlay(Image.new("RGBA", (8, 8)), maps_of(1)[0])


# --- rankings


@pytest.mark.parametrize("count", [1, 2, 10, 11, 23])
def test_hits_go_from_left_to_right_ten_a_row_after_the_sketch(count: int) -> None:
    pixels = results([hit_of(index) for index in range(count)])
    boxes = [box_of(pixels, own_colour(index)) for index in range(count)]
    assert [(top, left) for left, top, _, _ in boxes] == sorted((top, left) for left, top, _, _ in boxes)
    for index, (left, top, _, _) in enumerate(boxes):
        assert top == boxes[index - index % HITS_A_ROW][1]
        assert left == boxes[index % HITS_A_ROW][0]
    sketch = box_of(pixels, SKETCH)
    assert sketch[2] < boxes[0][0]
    assert sketch[1] == boxes[0][1]


def test_the_order_is_that_of_the_hits_given() -> None:
    pixels = results([hit_of(2), hit_of(0), hit_of(1)])
    left = [box_of(pixels, own_colour(index))[0] for index in (2, 0, 1)]
    assert left == sorted(left)


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (1, 1), (5, 2000)])
def test_a_photo_keeps_its_aspect_ratio(size: tuple[int, int]) -> None:
    left, top, right, bottom = box_of(results([hit_of(0, image=plain(own_colour(0), size))]), own_colour(0))
    assert max(right - left, bottom - top) == 200
    assert (right - left) / 200 == pytest.approx(size[0] / max(size), abs=0.01)
    assert (bottom - top) / 200 == pytest.approx(size[1] / max(size), abs=0.01)


def test_the_true_photo_has_a_green_frame_and_the_others_red_ones() -> None:
    pixels = results([hit_of(0), hit_of(1), hit_of(2)], truth="photo-1")
    for index in range(3):
        left, top, right, bottom = box_of(pixels, own_colour(index))
        expected = GREEN if index == 1 else RED
        for x, y in ((left - 3, top), (right + 2, top), (left, top - 3), (left, bottom + 2)):
            assert tuple(pixels[y, x]) == expected
    sketch = box_of(pixels, SKETCH)
    assert not is_there(pixels[:, : sketch[2] + 10], RED)


def test_without_a_known_truth_there_are_no_frames() -> None:
    pixels = results([hit_of(0), hit_of(1)])
    assert not is_there(pixels, GREEN)
    assert not is_there(pixels, RED)


def test_a_missing_photo_is_a_grey_square_that_says_so() -> None:
    pixels = results([hit_of(0), hit_of(1, image=None), hit_of(2)])
    left, top, right, bottom = placeholders_of(pixels)
    assert (right - left, bottom - top) == (200, 200)
    assert box_of(pixels, own_colour(0))[2] < left
    assert right < box_of(pixels, own_colour(2))[0]
    middle = pixels[top + 80 : bottom - 80, left:right]
    assert (middle.max(axis=-1) < 100).sum() > 100  # dark: letters


def test_a_search_without_a_sketch_image_can_be_drawn() -> None:
    picture = draw_results(None, [hit_of(0)], sketch_maps=maps_of(3), sketch_region_weights=np.full(3, 1 / 3))
    pixels = np.asarray(picture)
    assert placeholders_of(pixels)[2] < box_of(pixels, own_colour(0))[0]


def test_an_empty_result_can_be_drawn() -> None:
    pixels = results([])
    assert margin_is_white(pixels)
    right_half = pixels[:, box_of(pixels, SKETCH)[2] + 40 :]
    assert (right_half.max(axis=-1) < 150).sum() > 100  # it says that there are none


@pytest.mark.parametrize("regions", range(1, 9))
def test_every_region_has_a_map_below_its_photo(regions: int) -> None:
    with_maps = results([hit_of(0, regions), hit_of(1, regions)], regions)
    for region in range(regions):
        hidden = maps_of(regions, 1).copy()
        hidden[region] = 0.0
        changed = results([hit_of(0, regions), hit_of(1, regions, maps=hidden)], regions)
        rows, columns = np.nonzero((changed != with_maps).any(axis=-1))
        left, _, right, bottom = box_of(with_maps, own_colour(1))
        assert rows.min() > bottom
        assert left <= columns.min() < columns.max() < right
        assert np.ptp(columns) < 100
    assert margin_is_white(with_maps)


@pytest.mark.parametrize("id_", NASTY_IDS)
def test_no_id_is_cut_off_or_runs_into_its_neighbour(id_: str) -> None:
    pixels = results([hit_of(0), hit_of(1, id=id_), hit_of(2)])
    assert margin_is_white(pixels)
    boxes = [box_of(pixels, own_colour(index)) for index in range(3)]
    for before, after in ((0, 1), (1, 2)):
        gap = pixels[boxes[0][3] + 2 : -60, boxes[before][2] + 2 : boxes[after][0] - 2]
        assert (gap == 255).all()


def test_ids_that_differ_at_their_ends_only_look_different() -> None:
    one, other = (results([hit_of(0, id=f"{'folder/' * 20}{name}.jpg")]) for name in ("a", "b"))
    assert (one != other).any()


def test_maps_or_weights_of_another_number_of_regions_are_refused() -> None:
    for changes in ({"maps": maps_of(2)}, {"region_weights": np.full(4, 0.25)}, {"maps": maps_of(3)[0]}):
        with pytest.raises(ValueError, match=r"photo 'photo-1': found maps .* with R = 3"):
            results([hit_of(0), hit_of(1, **changes)])


def test_drawing_twice_gives_the_same_picture() -> None:
    hits = [hit_of(0), hit_of(1)]
    assert (results(hits) == results(hits)).all()


# --- explanations


@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("regions", [1, 3, 8])
def test_an_explanation_has_a_bar_for_each_region_and_level(regions: int, levels: int) -> None:
    given = explanation(regions, levels)
    pixels = np.asarray(draw_explanation(given))
    assert margin_is_white(pixels)
    left, _, right, _ = box_of(pixels, BLUE)
    column = (pixels[:, left] == BLUE).all(axis=-1)
    starts = np.flatnonzero(np.diff(column.astype(int)) == 1) + 1
    lengths = [int((pixels[start, left:] == BLUE).all(axis=-1).sum()) for start in starts]
    expected = given.contributions.ravel() / given.contributions.max() * (right - left)
    assert lengths == pytest.approx(expected.tolist(), abs=1)


def test_sketch_and_photo_stand_side_by_side() -> None:
    pixels = np.asarray(draw_explanation(explanation()))
    sketch, photo = box_of(pixels, SKETCH), box_of(pixels, own_colour(0))
    assert sketch[2] < photo[0]
    assert sketch[1::2] == photo[1::2]
    assert sketch[2] - sketch[0] == photo[2] - photo[0] == 320


def test_a_distance_of_zero_has_no_bars() -> None:
    nothing = explanation(contributions=np.zeros((3, 3)), distance=0.0)
    assert not is_there(np.asarray(draw_explanation(nothing)), BLUE)


def test_a_large_distance_is_not_cut_off() -> None:
    huge = explanation(contributions=np.full((3, 3), 1.5e9), distance=1.35e10)
    assert margin_is_white(np.asarray(draw_explanation(huge)))


@pytest.mark.parametrize("id_", NASTY_IDS)
def test_an_explanation_of_any_id_and_without_images_can_be_drawn(id_: str) -> None:
    pixels = np.asarray(draw_explanation(explanation(id=id_, sketch=None, photo=None)))
    assert margin_is_white(pixels)
    left, _, right, _ = placeholders_of(pixels)
    assert right - left > 2 * 320
    assert (pixels[360:400, right + 2 : right + 20] == 255).all()  # the id ends where its photo ends


def test_an_explanation_of_unequal_regions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the photo: found maps .* with R = 3"):
        draw_explanation(explanation(photo_maps=maps_of(2)))


def test_the_font_writes_without_system_fonts() -> None:
    assert 0 < text_width("i") < text_width("region 1, level 1")
