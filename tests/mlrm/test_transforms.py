import copy

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mlrm.transforms import PairAugment, image_to_tensor, to_square

STILL = {
    "zoom": 1.0,
    "degrees": 0.0,
    "shift": 0.0,
    "scale": 0.0,
    "shear": 0.0,
    "permute": 0.0,
    "jitter": 0.0,
}


def noise(size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def still(**changes: float) -> PairAugment:
    """An augmentation that does nothing, but for the changes."""
    return PairAugment(size=32, **{**STILL, **changes})


def vary(
    augment: PairAugment,
    sketch: Image.Image | np.ndarray,
    photo: Image.Image | np.ndarray,
    rng: np.random.Generator,
    flipped: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment.sketch(sketch, flipped, rng), augment.photo(photo, flipped, rng)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def disc(size: int = 64) -> Image.Image:
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).ellipse((size / 4, size / 4, size * 3 / 4, size * 3 / 4), fill="black")
    return image


def centre_and_area(image: torch.Tensor) -> tuple[float, float, float]:
    ink = 1 - image[0].double() / 255
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in ink.shape), indexing="ij")
    area = ink.sum()
    return float((ink * columns).sum() / area), float((ink * rows).sum() / area), float(area)


# The path of serving


def test_the_whole_image_is_kept_when_made_square():
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    square = to_square(image, 50)
    assert square.size == (50, 50)
    assert (square.getpixel((0, 25)), square.getpixel((49, 25))) == ((255, 0, 0), (0, 0, 255))


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = np.asarray(to_square(Image.fromarray(stripes), 32)).astype(int)
    assert abs(shrunk - 127.5).max() < 8  # without antialiasing each pixel is black or white


def test_an_image_of_the_size_is_unchanged():
    assert to_square(noise(), 32).tobytes() == noise().tobytes()


def test_tensor_is_channels_first_bytes():
    tensor = image_to_tensor(noise(), 32)
    assert (tensor.dtype, tensor.shape) == (torch.uint8, (3, 32, 32))
    assert tensor.is_contiguous()
    assert torch.equal(tensor, pixels(noise()))


def test_default_size_is_the_models():
    assert image_to_tensor(noise()).shape == (3, 256, 256)


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="mode L"):
        to_square(Image.new("L", (10, 10)))


# The augmentation of training


def test_without_changes_the_pair_is_unchanged():
    sketch, photo = vary(still(), disc(32), noise(), np.random.default_rng(0))
    assert torch.equal(sketch, pixels(disc(32)))
    assert torch.equal(photo, pixels(noise()))


def test_same_generator_state_gives_the_same_pair():
    rng = np.random.default_rng(0)
    augment = PairAugment(size=32)
    vary(augment, noise(), noise(), rng)
    resumed = copy.deepcopy(rng)
    for expected, found in zip(
        vary(augment, noise(), noise(), rng), vary(augment, noise(), noise(), resumed), strict=True
    ):
        assert torch.equal(expected, found)


def test_arrays_and_images_give_the_same_pair():
    augment = PairAugment(size=32)
    of_images = vary(augment, noise(), noise(), np.random.default_rng(0))
    of_arrays = vary(augment, np.asarray(noise()), np.asarray(noise()), np.random.default_rng(0))
    assert all(torch.equal(a, b) for a, b in zip(of_images, of_arrays, strict=True))


def test_output_is_bytes_of_the_size():
    for tensor in vary(PairAugment(size=32), noise(), noise(), np.random.default_rng(0)):
        assert (tensor.dtype, tensor.shape) == (torch.uint8, (3, 32, 32))
        assert tensor.is_contiguous()


def test_a_flip_mirrors_both_left_to_right():
    plain, mirrored = pixels(noise()), pixels(noise()).flip(2)
    for flipped, expected in ((False, plain), (True, mirrored)):
        for tensor in vary(still(), noise(), noise(), np.random.default_rng(0), flipped):
            assert torch.equal(tensor, expected)


def test_moves_are_drawn_for_each_image():
    sketch, photo = vary(still(degrees=20.0), disc_with_mark(), disc_with_mark(), np.random.default_rng(0))
    assert not torch.equal(sketch, photo)


def disc_with_mark() -> Image.Image:
    image = disc(32)
    image.paste("red", (16, 0, 18, 32))
    return image


def test_the_sketch_keeps_its_colours():
    sketch, photo = vary(still(permute=1.0, jitter=0.5), noise(), noise(), np.random.default_rng(0))
    assert torch.equal(sketch, pixels(noise()))
    assert not torch.equal(photo, pixels(noise()))


def test_zoom_enlarges_about_the_centre_and_crops_at_random():
    augment = PairAugment(size=64, **{**STILL, "zoom": 1.15})
    rng = np.random.default_rng(0)
    _, _, area = centre_and_area(pixels(disc()))
    found = np.array([centre_and_area(vary(augment, disc(), disc(), rng)[1]) for _ in range(200)])
    assert found[:, 2] == pytest.approx(area * 1.15**2, rel=0.02)
    reach = 64 * 0.15 / 2
    offsets = found[:, :2] - centre_and_area(pixels(disc()))[0]
    assert reach * 0.9 < abs(offsets).max() < reach + 0.2


def test_shift_reaches_its_share_of_the_side_both_ways():
    augment = PairAugment(size=64, **{**STILL, "shift": 0.05})
    rng = np.random.default_rng(0)
    start = centre_and_area(pixels(disc()))
    offsets = np.array([centre_and_area(vary(augment, disc(), disc(), rng)[0])[:2] for _ in range(200)]) - start[:2]
    assert offsets.max(axis=0) == pytest.approx(3.2, abs=0.3)
    assert offsets.min(axis=0) == pytest.approx(-3.2, abs=0.3)


def test_scale_goes_both_ways():
    augment = PairAugment(size=64, **{**STILL, "scale": 0.1})
    rng = np.random.default_rng(0)
    area = centre_and_area(pixels(disc()))[2]
    areas = np.array([centre_and_area(vary(augment, disc(), disc(), rng)[0])[2] for _ in range(100)]) / area
    assert areas.max() == pytest.approx(1.21, abs=0.03)
    assert areas.min() == pytest.approx(0.81, abs=0.03)


def test_shear_slides_rows_and_nothing_else():
    sheared, _ = vary(PairAugment(size=64, **{**STILL, "shear": 5.0}), disc(), disc(), np.random.default_rng(0))
    ink, before = (255.0 - image[0] for image in (sheared, pixels(disc())))
    assert torch.allclose(ink.sum(1), before.sum(1), rtol=0.02, atol=2)
    assert (ink - before).abs().max() > 50


def test_shear_keeps_the_area_and_rotation_the_disc():
    start = centre_and_area(pixels(disc()))
    for change in ({"shear": 5.0}, {"degrees": 20.0}):
        moved, _ = vary(PairAugment(size=64, **{**STILL, **change}), disc(), disc(), np.random.default_rng(3))
        assert centre_and_area(moved) == pytest.approx(start, rel=0.01)
    assert (moved.int() - pixels(disc()).int()).abs().float().mean() < 4  # the last: turned, still a disc


def test_what_comes_into_view_is_white():
    black = Image.new("RGB", (32, 32))
    sketch, _ = vary(still(degrees=20.0), black, black, np.random.default_rng(0))
    corners = sketch[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.unique().tolist() == [255]
    assert sketch[:, 16, 16].tolist() == [0, 0, 0]


def test_the_fill_leaves_no_seam_on_a_white_photo():
    white = Image.new("RGB", (32, 32), "white")
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, photo = vary(PairAugment(size=32), white, white, rng)
        assert photo.unique().numel() == 1


def test_channel_permutation_reorders_whole_channels():
    rng = np.random.default_rng(0)
    channels = {tuple(plane.flatten().tolist()) for plane in pixels(noise())}
    orders = set()
    for _ in range(60):
        _, photo = vary(still(permute=1.0), noise(), noise(), rng)
        planes = [tuple(plane.flatten().tolist()) for plane in photo]
        assert set(planes) == channels
        orders.add(tuple(planes))
    assert len(orders) == 6


def test_jitter_leaves_a_grey_photo_grey_and_changes_its_brightness():
    grey = Image.new("RGB", (32, 32), (120, 120, 120))
    rng = np.random.default_rng(0)
    levels = set()
    for _ in range(50):
        _, photo = vary(still(jitter=0.3), grey, grey, rng)
        assert photo.unique().numel() == 1
        levels.add(int(photo[0, 0, 0]))
    assert min(levels) == pytest.approx(120 * 0.7, abs=5)
    assert max(levels) == pytest.approx(120 * 1.3, abs=5)


def test_jitter_changes_contrast_and_saturation():
    half = Image.new("RGB", (32, 32), (60, 60, 60))
    half.paste((200, 60, 60), (16, 0, 32, 32))
    rng = np.random.default_rng(0)
    contrasts, saturations = [], []
    for _ in range(100):
        _, photo = vary(still(jitter=0.3), half, half, rng)
        left, right = photo[:, 0, 0].double(), photo[:, 0, -1].double()
        contrasts.append(float((right[1] - left[1]) / left[1]))
        saturations.append(float((right[0] - right[1]) / right[0]))
    assert np.ptp(contrasts) > 0.2
    assert np.ptp(saturations) > 0.1


@pytest.mark.parametrize("bad", [Image.new("RGB", (31, 32)), Image.new("L", (32, 32))])
def test_an_image_of_another_size_or_mode_is_refused(bad: Image.Image):
    with pytest.raises(ValueError, match=r"the photo is .*expected RGB 32 x 32"):
        vary(PairAugment(size=32), noise(), bad, np.random.default_rng(0))
