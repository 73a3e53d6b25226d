"""Features drawn from real statistics: sketches are those of their own photos, as far away as real ones."""

import pytest
import torch
from torch.nn.functional import normalize

from benches.cases import Rows, draw_large
from benches.drawn_like import Statistics

CHANNELS = (8, 16, 40)
PAIRS, PHOTOS = 80, 30


def pairs(distance: float) -> tuple[Rows, Rows]:
    """Photos, and of each a sketch, moved by a common step and noise that together are so long."""
    photos = draw_large(PAIRS, CHANNELS, torch.float32, 0)
    generator = torch.Generator().manual_seed(1)
    levels = []
    for level in photos.levels:
        step = torch.ones(level.shape[2]) + torch.randn(level.shape, generator=generator)
        levels.append(normalize(level + distance * normalize(step, dim=2), dim=2))
    return photos, Rows(tuple(levels), photos.region_weights.flip(0), photos.level_weights.flip(0))


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return Statistics.of(*pairs(0.3), torch.arange(PAIRS))


def test_sketches_of_a_photo_are_near_it_and_differ(statistics: Statistics) -> None:
    photos, _ = statistics.draw(PHOTOS, 0)
    own = torch.arange(3 * PHOTOS) % PHOTOS
    sketches = statistics.sketches_of(photos, own)
    distance = sum(
        torch.cdist(sketches.levels[level][:, r], photos.levels[level][:, r].float())
        for level in range(3)
        for r in range(3)
    )
    assert isinstance(distance, torch.Tensor)
    assert float((distance.argmin(1) == own).double().mean()) > 0.9
    assert not torch.equal(sketches.levels[2][0], sketches.levels[2][PHOTOS])


def test_sketches_are_as_far_from_their_photos_as_real_ones(statistics: Statistics) -> None:
    photos, _ = statistics.draw(PHOTOS, 0)
    own = torch.arange(20 * PHOTOS) % PHOTOS
    drawn, real = statistics.sketches_of(photos, own), pairs(0.3)
    for level in range(3):
        found = drawn.levels[level] - photos.levels[level][own].float()
        expected = real[1].levels[level] - real[0].levels[level]
        assert float((found.mean(0) - expected.mean(0)).norm() / expected.mean(0).norm()) < 0.3
        assert float(found.norm(dim=2).mean()) == pytest.approx(float(expected.norm(dim=2).mean()), rel=0.1)


def test_sketches_have_the_shape_of_photos_with_more_channels(statistics: Statistics) -> None:
    photos, _ = statistics.draw(PHOTOS, 0, (10, 16, 64))
    sketches = statistics.sketches_of(photos, torch.tensor([2, 2, 5]))
    assert [level.shape for level in sketches.levels] == [(3, 3, 10), (3, 3, 16), (3, 3, 64)]
    assert sketches.levels[0].dtype == torch.float32
    assert not sketches.levels[2][:, :, 40:].any()
    torch.testing.assert_close(sketches.levels[2].norm(dim=2), torch.ones(3, 3))
    assert (sketches.region_weights.shape, sketches.level_weights.shape) == ((3, 3), (3, 3, 3))
