"""Exact search is the canonical ranking, by (distance, id), whatever the data and however they are stored."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import exact
from engine.exact import ExactSearch
from engine.gallery import GallerySnapshot, SegmentView, Selection
from engine.ids import Ids
from kernels.reference import canonical_distance
from mlrm.features import Features

CPU = torch.device("cpu")
Ranking = list[tuple[str, float]]


@dataclass
class Data:
    """A query side in float32, a gallery side as stored, and the gallery's ids."""

    query: Features
    gallery: Features
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Numbers in reverse, so that the order of ids is not the order of rows.
        self.ids = self.ids or [f"photo-{len(self.gallery) - row:05d}" for row in range(len(self.gallery))]


def stored(features: Features) -> Features:
    """Features with levels rounded to float16, as a gallery has them."""
    return Features(
        tuple(level.half().float() for level in features.levels), features.region_weights, features.level_weights
    )


def random_features(
    count: int, seed: int, dims: tuple[int, ...] = (5, 17), regions: int = 2, scale: float = 1.0, offset: float = 0.0
) -> Features:
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(scale * (torch.randn(count, regions, c, generator=generator) + offset) for c in dims)
    region_weights = torch.rand(count, regions, generator=generator).softmax(1)
    level_weights = torch.rand(count, regions, len(dims), generator=generator).softmax(2)
    return Features(levels, region_weights, level_weights)


def with_weights(features: Features, region: float | None = None, level: float | None = None) -> Features:
    """The same vectors with all region weights, or all level weights, set to one value."""
    return Features(
        features.levels,
        features.region_weights if region is None else torch.full_like(features.region_weights, region),
        features.level_weights if level is None else torch.full_like(features.level_weights, level),
    )


def snapshot_of(data: Data, sizes: list[int] | None = None, dead: set[int] | None = None) -> GallerySnapshot:
    """The gallery cut into segments of these sizes; the rows in `dead` are removed photos."""
    segments, start = [], 0
    for size in sizes or [len(data.gallery)]:
        part = data.gallery[start : start + size]
        live = [row for row in range(size) if start + row not in (dead or set())]
        segments.append(
            SegmentView(
                name=f"segment-{start}",
                levels=tuple(level.numpy().astype(np.float16) for level in part.levels),
                region_weights=part.region_weights.numpy(),
                level_weights=part.level_weights.numpy(),
                maps=np.zeros((size, part.region_weights.shape[1], 1, 1), np.uint8),
                live_rows=np.array(live, np.int64),
                ids=Ids(data.ids[start + row] for row in live),
            )
        )
        start += size
    assert start == len(data.gallery)
    return GallerySnapshot(1, tuple(segment for segment in segments if segment.ids))


def searched(data: Data, top_k: int, power: int = 1, **layout: object) -> list[Ranking]:
    results = ExactSearch(CPU)(Selection(snapshot_of(data, **layout)), data.query, top_k, power)  # type: ignore[arg-type]
    return [[(hit.id, hit.distance) for hit in hits] for hits in results]


def brute_force(data: Data, top_k: int, power: int = 1, without: set[int] | None = None) -> list[Ranking]:
    """The definition: every canonical distance, sorted with the id."""
    distances = canonical_distance(data.query, data.gallery, power).tolist()
    rows = [row for row in range(len(data.gallery)) if row not in (without or set())]
    return [
        [(id_, d) for d, id_ in sorted((of_query[row], data.ids[row]) for row in rows)][:top_k]
        for of_query in distances
    ]


def _random() -> Data:
    return Data(random_features(3, 1), stored(random_features(70, 2)))


def _far_from_the_origin() -> Data:
    """A common offset of 1000 standard deviations: squared norms would cancel."""
    return Data(random_features(3, 1, offset=1000.0), stored(random_features(70, 2, offset=1000.0)))


def _ties() -> Data:
    """Seven different photos, each there ten times."""
    few = stored(random_features(7, 2))
    return Data(random_features(2, 1), few[[row % 7 for row in range(70)]])


def _duplicates_of_the_query() -> Data:
    gallery = stored(random_features(70, 2))
    return Data(gallery[[3, 50]], gallery[[3 if row % 9 == 0 else row for row in range(70)]])


def _zero_weights() -> Data:
    """Half of the photos agree with the query that the first region counts nothing; one query has no weight at all."""
    query, gallery = random_features(3, 1), stored(random_features(70, 2))
    query.region_weights[:, 0] = 0
    query.region_weights[2] = 0
    gallery.region_weights[::2, 0] = 0
    gallery.level_weights[::4, :, 1] = 0
    return Data(query, gallery)


def _denormal() -> Data:
    """Every square underflows in float32, so all float32 distances are 0 and only the bound is left."""
    return Data(random_features(3, 1, scale=1e-24), stored(random_features(70, 2, scale=1e-30)))


def _float16_denormals() -> Data:
    return Data(random_features(3, 1, scale=1e-7), stored(random_features(70, 2, scale=2e-7)))


def _one_huge() -> Data:
    gallery = stored(random_features(70, 2))
    gallery.levels[1][5] = 65504.0
    return Data(random_features(3, 1), gallery)


def _screen_overflows() -> Data:
    """1e30 squared is infinite in float32, and so is every screened distance of the first query."""
    query = random_features(3, 1)
    query.levels[0][0] = 1e30
    return Data(query, stored(random_features(70, 2)))


def _weights_overflow() -> Data:
    """Level weights whose sums are infinite in float32, and finite in float64.

    Every second photo has them, and an unknown distance in float32; the others have a known one and are farther.
    """
    query, gallery = (
        with_weights(random_features(2, 1), 0, 3e38),
        with_weights(stored(random_features(70, 2)), 1e-10, 0),
    )
    gallery.region_weights[::2] = 1e-30
    gallery.level_weights[::2] = 3e38
    return Data(query, gallery)


def _weights_underflow() -> Data:
    """For p = 2: region weights of 1e-25, whose squares vanish in float32, and level weights that make them matter.

    Every second photo has them, and seems to be at distance 0; the others are nearer.
    """
    query, gallery = (
        with_weights(random_features(2, 1), 0, 0),
        with_weights(stored(random_features(70, 2)), 1e-18, 1e20),
    )
    gallery.region_weights[::2] = 1e-25
    gallery.level_weights[::2] = 1e37
    return Data(query, gallery)


CASES = (
    _random, _far_from_the_origin, _ties, _duplicates_of_the_query, _zero_weights, _denormal, _float16_denormals,
    _one_huge, _screen_overflows, _weights_overflow, _weights_underflow,
)  # fmt: skip


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
@pytest.mark.filterwarnings("error")
def test_search_is_the_canonical_ranking(case: Callable[[], Data], power: int) -> None:
    data = case()
    for top_k in (1, 10, len(data.gallery) - 1, len(data.gallery), len(data.gallery) + 1):
        assert searched(data, top_k, power) == brute_force(data, top_k, power)


def test_ties_are_broken_by_id() -> None:
    [first, _] = searched(_ties(), 20)
    assert len({distance for _, distance in first}) == 2  # ten photos each
    for group in (first[:10], first[10:]):
        assert [id_ for id_, _ in group] == sorted(id_ for id_, _ in group)


def test_a_photo_equal_to_the_query_has_distance_zero() -> None:
    [first, _] = searched(_duplicates_of_the_query(), 10)
    assert [distance for _, distance in first[:9]] == [0.0] * 9
    assert first[9][1] > 0


def test_what_is_known_of_a_segment_outlives_a_removal() -> None:
    """A removed photo changes which rows live, not what was derived from them."""
    data, search = _random(), ExactSearch(CPU)
    before = search.blocks(snapshot_of(data, [30, 40]))
    before[0].cache["test"] = "derived"
    after = search.blocks(snapshot_of(data, [30, 40], {3}))
    assert after[0].cache["test"] == "derived"
    assert [block.live_count for block in after] == [29, 40]
    assert [block.live_count for block in before] == [30, 40]  # a search going on is not disturbed


def test_a_commit_that_changes_no_row_derives_nothing_again() -> None:
    """New metadata, say: on a GPU, deriving means to copy the whole gallery."""
    data, search = _random(), ExactSearch(CPU)
    snapshot = snapshot_of(data, [30, 40])
    before = search.blocks(snapshot)
    after = search.blocks(GallerySnapshot(2, (*snapshot.segments,)))
    assert all(new is old for new, old in zip(after, before, strict=True))


def test_one_search_serves_snapshots_in_any_order() -> None:
    data, search = _random(), ExactSearch(CPU)
    whole, fewer = snapshot_of(data, [30, 40]), snapshot_of(data, [30, 40], {3, 35})
    for snapshot, without in ((whole, set[int]()), (fewer, {3, 35}), (whole, set[int]())):
        found = [[(hit.id, hit.distance) for hit in hits] for hits in search(Selection(snapshot), data.query, 70, 1)]
        assert found == brute_force(data, 70, without=without)


# -- laws


@pytest.mark.parametrize(
    "sizes", [[1] * 70, [69, 1], [1, 69], [23, 24, 23]], ids=["single photos", "one last", "one first", "thirds"]
)
@pytest.mark.parametrize("case", [_random, _ties, _denormal], ids=lambda case: case.__name__.strip("_"))
def test_result_does_not_depend_on_segment_boundaries(case: Callable[[], Data], sizes: list[int]) -> None:
    data = case()
    assert searched(data, 10, sizes=sizes) == searched(data, 10)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_result_does_not_depend_on_the_number_of_queries_at_once(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _one_huge()
    together = searched(data, 10)
    assert together == [searched(Data(data.query[i : i + 1], data.gallery), 10)[0] for i in range(3)]
    monkeypatch.setattr(exact, "QUERY_CHUNK", chunk)
    assert searched(data, 10) == together


def test_result_does_not_depend_on_dead_rows() -> None:
    """Removed photos, the nearest among them and a whole segment, are as if they had never been there."""
    data = _random()
    nearest = {data.ids.index(ranking[0][0]) for ranking in brute_force(data, 1)}
    dead = nearest | set(range(20, 40)) | {69}
    assert searched(data, 60, sizes=[20, 20, 30], dead=dead) == brute_force(data, 60, without=dead)


def test_an_empty_snapshot_gives_empty_results() -> None:
    assert ExactSearch(CPU)(Selection(GallerySnapshot(0, ())), random_features(2, 1), 10, 1) == [[], []]


def test_hits_name_the_row_they_lie_in() -> None:
    data = _random()
    [hits, *_] = ExactSearch(CPU)(Selection(snapshot_of(data, [30, 40], {3, 35})), data.query, 70, 1)
    for hit in hits:
        row = data.ids.index(hit.id)
        assert (hit.segment.name, hit.row) == (("segment-0", row) if row < 30 else ("segment-30", row - 30))


VALUES = st.sampled_from([0.0, 1.0, -1.0, 1.0009765625, 0.333251953125, 6e-8, 65504.0, -65504.0, 1e-3])
WEIGHTS = st.sampled_from([0.0, 1.0, 0.5, 1e-8, 1e-38, 0.3])


@st.composite
def small_data(draw: st.DrawFn) -> tuple[Data, int, list[int]]:
    """A few photos of a few awkward values, so that ties and near ties are common; top_k; sizes of segments."""
    regions, dims = draw(st.integers(1, 2)), draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))

    def features(count: int) -> Features:
        def tensor(values: st.SearchStrategy[float], *shape: int) -> torch.Tensor:
            size = int(np.prod(shape))
            return torch.tensor(draw(st.lists(values, min_size=size, max_size=size))).reshape(shape)

        levels = tuple(tensor(VALUES, count, regions, channels) for channels in dims)
        return Features(levels, tensor(WEIGHTS, count, regions), tensor(WEIGHTS, count, regions, len(dims)))

    data = Data(features(draw(st.integers(1, 2))), stored(features(sum(sizes))))
    return data, draw(st.integers(1, sum(sizes) + 1)), sizes


@settings(max_examples=100, deadline=None, derandomize=True)
@given(small_data(), st.sampled_from([1, 2]))
def test_search_is_the_canonical_ranking_of_anything(case: tuple[Data, int, list[int]], power: int) -> None:
    data, top_k, sizes = case
    assert searched(data, top_k, power, sizes=sizes) == brute_force(data, top_k, power)


# -- the bound


def near_ties() -> Data:
    """Photos whose distances differ by less than float32 resolves: the order of channels alone moves it there.

    Photo n is the query moved by 1 in 63 channels, in its own order, and by n / 100000 in one more: the distances,
    near 8, ascend with n by parts in 10^12, and float32 knows parts in 10^7.
    """
    generator = torch.Generator().manual_seed(0)
    step = torch.rand(63, generator=generator).half().float()
    rows = []
    for number in range(60):
        row = torch.zeros(64)
        order = torch.randperm(64, generator=generator)
        row[order[:63]] = step
        row[order[63]] = number / 100_000
        rows.append(row)
    gallery = Features((torch.stack(rows)[:, None],), torch.ones(60, 1), torch.ones(60, 1, 1))
    query = Features((torch.zeros(1, 1, 64),), torch.ones(1, 1), torch.ones(1, 1, 1))
    return Data(query, stored(gallery))


def test_near_ties_are_ordered_by_what_float32_cannot_see() -> None:
    data = near_ties()
    assert searched(data, 10) == brute_force(data, 10)
    assert [id_ for id_, _ in searched(data, 10)[0]] == data.ids[:10]


@pytest.mark.parametrize("gathered_rows", [0, exact.GATHERED_ROWS])
@pytest.mark.parametrize("count", [0, 1, 3, 20, 40, 65])
@pytest.mark.parametrize("make", [_random, _ties])
def test_a_filtered_search_is_a_search_of_a_gallery_of_those_photos(
    make: Callable[[], Data], count: int, gathered_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever share of the photos is selected, and whether their rows are gathered or the others left out."""
    monkeypatch.setattr(exact, "GATHERED_ROWS", gathered_rows)
    data, dead = make(), {0, 31, 32, 50, 69}
    living = np.array(sorted(set(range(70)) - dead))
    chosen = np.sort(np.random.default_rng(count).choice(living, count, replace=False))
    snapshot = snapshot_of(data, [30, 1, 39], dead)
    rows = tuple(
        chosen[(chosen >= start) & (chosen < start + size)] - start for start, size in ((0, 30), (30, 1), (31, 39))
    )
    others = set(range(70)) - set(chosen.tolist())
    search = ExactSearch(CPU)
    for top_k in (1, 7, 70):
        results = search(Selection(snapshot, rows), data.query, top_k, 1)
        found = [[(hit.id, hit.distance) for hit in hits] for hits in results]
        assert found == brute_force(data, top_k, without=others)
    everything = search(Selection(snapshot), data.query, 70, 1)
    assert [[hit.id for hit in hits] for hits in everything] == [
        [id_ for id_, _ in ranking] for ranking in brute_force(data, 70, without=dead)
    ]
