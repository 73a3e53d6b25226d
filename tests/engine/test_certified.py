"""Search by short codes finds what brute force finds, and says truly how; whatever became of the gallery meanwhile."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benches.cases import Rows
from engine.errors import ConfigError, GalleryError
from engine.gallery import Gallery
from engine.optimize import keep_up, optimize
from engine.plan import read_plan
from engine.short_codes import CODES
from mlrm.features import Features
from tests.engine.coded_gallery import (
    PHOTOS,
    SHAPES,
    TOP_K,
    add,
    brute_force,
    everything,
    filtered,
    gallery_of,
    ids_of,
    joined,
    photos_drawn,
    ranking,
    searcher,
    sketches_drawn,
)

ROW_BYTES = 2 * SHAPES.regions * sum(SHAPES.level_dims)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return photos_drawn(PHOTOS)


@pytest.fixture(scope="module")
def sketches() -> Features:
    return sketches_drawn(24)


@pytest.fixture(scope="module")
def _coded(rows: Rows, codes_pay: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "my.gallery"
    optimize(gallery_of(path, rows), sketches_drawn(16))
    return path


@pytest.fixture
def gallery(_coded: Path, tmp_path: Path) -> Gallery:
    """Drawn photos with short codes, the test's own."""
    return Gallery.open(shutil.copytree(_coded, tmp_path / "my.gallery"))


@pytest.fixture(scope="module")
def truth(rows: Rows, sketches: Features) -> list[list[tuple[str, float]]]:
    return brute_force(rows, sketches)


Truth = list[list[tuple[str, float]]]


def test_it_finds_what_brute_force_finds_and_reads_less(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    found = everything(gallery, searcher("codes"), sketches)
    assert ranking(found) == truth
    for answer, expected in zip(found, brute_force(photos_drawn(PHOTOS), sketches, TOP_K + 1), strict=True):
        report = answer.report
        assert (report.read, report.certified, report.photos, report.note) == ("codes", True, PHOTOS, "")
        assert TOP_K < report.survivors < PHOTOS
        assert TOP_K < report.rescored < PHOTOS
        assert report.bytes_read < 0.5 * PHOTOS * ROW_BYTES
        assert report.gap == expected[TOP_K][1] - expected[TOP_K - 1][1]


def test_one_sketch_is_as_many(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    search = searcher()
    assert [ranking(everything(gallery, search, sketches[i : i + 1]))[0] for i in range(5)] == truth[:5]


def test_features_can_be_asked_for(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    found = everything(gallery, searcher("features"), sketches)
    assert ranking(found) == truth
    assert {(one.report.read, one.report.bytes_read) for one in found} == {("features", PHOTOS * ROW_BYTES)}


def test_removed_photos_are_not_found(gallery: Gallery, rows: Rows, sketches: Features, truth: Truth) -> None:
    search = searcher()
    everything(gallery, search, sketches)
    gone = {pair[0] for found in truth for pair in found[:3]}
    with gallery.writer() as writer:
        writer.remove(sorted(gone))
    found = everything(gallery, search, sketches)
    ids = ids_of(0, PHOTOS)
    assert ranking(found) == brute_force(rows, sketches, left={row for row in range(PHOTOS) if ids[row] not in gone})
    assert {one.report.read for one in found} == {"codes"}


def test_filters_stay_exact(gallery: Gallery, rows: Rows, sketches: Features) -> None:
    found = filtered(gallery, searcher(), sketches, {"even": True})
    assert ranking(found) == brute_force(rows, sketches, left=set(range(0, PHOTOS, 2)))
    assert {(one.report.read, one.report.photos) for one in found} == {("codes", PHOTOS // 2)}


def test_new_photos_are_found_before_they_have_codes_and_after(gallery: Gallery, sketches: Features) -> None:
    search = searcher()
    everything(gallery, search, sketches)
    add(gallery, photos_drawn(700, seed=5), first=PHOTOS)
    both = joined(photos_drawn(PHOTOS), photos_drawn(700, seed=5))
    expected = brute_force(both, sketches)
    found = everything(gallery, search, sketches)
    assert ranking(found) == expected
    assert {one.report.note.split(":")[0] for one in found} == {"700 rows have no codes yet"}
    keep_up(gallery)
    found = everything(gallery, search, sketches)
    assert ranking(found) == expected
    assert {one.report.note for one in found} == {""}


def test_compaction_keeps_codes_up(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    before = {path.name for path in (gallery.path / CODES).iterdir()}
    with gallery.writer() as writer:
        writer.compact()
    keep_up(gallery)
    found = everything(gallery, searcher("codes"), sketches)
    assert ranking(found) == truth
    assert {one.report.note for one in found} == {""}
    after = {path.name for path in (gallery.path / CODES).iterdir()}
    assert len(after) == 2
    assert len(before & after) == 1  # the basis


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_many_sketches_at_once_are_scanned_for_together(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    """Unless codes were asked for, or the work was to be bounded."""
    selection, many = gallery.select(None), Features.cat([sketches] * 20)
    found = searcher()(gallery, selection, many, TOP_K)
    assert {one.report.read for one in found} == {"features"}
    assert found[0].report.note == f"{len(many)} sketches at once: one scan of all features costs less"
    assert ranking(found) == truth * 20
    assert "codes" in {one.report.read for one in searcher("codes")(gallery, selection, many, TOP_K)}
    assert "codes" in {one.report.read for one in searcher()(gallery, selection, many, TOP_K, max_candidates=PHOTOS)}


@pytest.mark.parametrize("change", [spoil, truncate, Path.unlink])
@pytest.mark.parametrize("which", ["basis-*", "[!b]*"])
def test_damaged_codes_are_not_used(
    gallery: Gallery, sketches: Features, truth: Truth, change: Callable[[Path], None], which: str
) -> None:
    change(sorted((gallery.path / CODES).glob(which))[0])
    found = everything(gallery, searcher(), sketches)
    assert ranking(found) == truth
    if which.startswith("basis"):
        assert {one.report.read for one in found} == {"features"}
        with pytest.raises(GalleryError, match="engine optimize"):
            everything(gallery, searcher("codes"), sketches)
    else:
        assert all("rows have no codes yet" in one.report.note for one in found)


@pytest.mark.parametrize("which", ["basis-*", "[!b]*"])
def test_verify_names_damaged_codes_deletes_them_and_says_how_to_repair(
    gallery: Gallery, sketches: Features, truth: Truth, which: str
) -> None:
    files = sorted((gallery.path / CODES).iterdir())
    with gallery.writer() as writer:
        assert writer.verify().codes == ()
    damaged = sorted((gallery.path / CODES).glob(which))[0]
    spoil(damaged)
    with gallery.writer() as writer:
        report = writer.verify()
    whose = None if which.startswith("basis") else damaged.name.split("-")[0]
    assert [(one.file, one.segment) for one in report.codes] == [(damaged, whose)]
    assert f"{damaged}, the " in str(report)
    assert f"python -m engine optimize --gallery {gallery.path}" in str(report)
    assert not report.damaged
    assert sorted((gallery.path / CODES).iterdir()) == [file for file in files if file != damaged]
    assert ranking(everything(gallery, searcher(), sketches)) == truth
    optimize(gallery, sketches_drawn(16))
    assert {one.report.note for one in everything(gallery, searcher("codes"), sketches)} == {""}


def test_a_copy_has_no_codes_and_gets_them(gallery: Gallery, sketches: Features, truth: Truth, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    copy = Gallery.open(tmp_path / "copy")
    found = everything(copy, searcher(), sketches)
    assert ranking(found) == truth
    assert {one.report.read for one in found} == {"features"}
    keep_up(copy)
    assert ranking(everything(copy, searcher("codes"), sketches)) == truth


def test_a_full_disk_leaves_the_gallery_as_it_was(
    gallery: Gallery, sketches: Features, truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    plan = read_plan(gallery.path)
    with gallery.writer() as writer:
        writer.compact()  # so that there is something to write
    monkeypatch.setattr("engine.short_codes.os.fsync", refuse)
    with pytest.raises(GalleryError, match="No space left"):
        keep_up(gallery)
    monkeypatch.undo()
    assert read_plan(gallery.path) == plan
    assert not list((gallery.path / CODES).glob(".tmp-*"))
    assert ranking(everything(gallery, searcher(), sketches)) == truth


def test_what_a_killed_writer_left_is_deleted(gallery: Gallery) -> None:
    left = gallery.path / CODES / ".tmp-left"
    left.write_bytes(b"half of it")
    keep_up(gallery)
    assert not left.exists()


def test_bounded_work_says_whether_it_is_proven(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    few = everything(gallery, searcher(), sketches, max_candidates=TOP_K + 1)
    assert not all(one.report.certified for one in few)
    assert all((one.report.gap is not None) == one.report.certified for one in few)
    assert all(one.report.rescored <= TOP_K + 1 for one in few)
    for many in (few, everything(gallery, searcher(), sketches, max_candidates=PHOTOS)):
        for answer, expected in zip(ranking(many), truth, strict=True):
            report = many[truth.index(expected)].report
            assert answer == expected or not report.certified
    assert all(one.report.certified for one in everything(gallery, searcher(), sketches, max_candidates=PHOTOS))


def test_near_duplicates_are_told_apart(tmp_path: Path, sketches: Features) -> None:
    twins = photos_drawn(PHOTOS)
    for level in twins.levels[:2]:
        level[:] = level[:1]
    twins.levels[2][1:] = (twins.levels[2][1:].float() * 1e-3 + twins.levels[2][:1].float()).half()
    gallery = gallery_of(tmp_path / "twins", twins)
    optimize(gallery)
    found = everything(gallery, searcher(), sketches)
    assert ranking(found) == brute_force(twins, sketches)
    assert all(one.report.certified for one in found)


@pytest.mark.parametrize("top_k", [1000, PHOTOS - 1, PHOTOS, PHOTOS + 1])
def test_many_survivors_fall_through_to_the_scan_and_say_so(
    gallery: Gallery, rows: Rows, sketches: Features, top_k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels.short.search.FEW", 0)
    monkeypatch.setattr("kernels.short.search.SCAN_SHARE", 10**6)
    found = searcher("codes")(gallery, gallery.select(None), sketches[:2], top_k)
    assert ranking(found) == brute_force(rows, sketches[:2], top_k)
    for report in (one.report for one in found):
        assert report.certified
        assert (report.gap is None) == (top_k >= PHOTOS)
        assert report.rescored == PHOTOS
        if top_k == 1000:
            assert report.read == "features"
            assert "all features were scanned" in report.note
            codes = everything(gallery, searcher("codes"), sketches[:1])[0].report
            first = codes.bytes_read - codes.rescored * ROW_BYTES
            assert report.bytes_read >= first + (PHOTOS + top_k) * ROW_BYTES  # rescored before, and then all


def test_searches_go_on_while_codes_are_made(gallery: Gallery, sketches: Features, truth: Truth) -> None:
    search = searcher()
    with ThreadPoolExecutor(3) as pool:
        making = pool.submit(optimize, Gallery.open(gallery.path))
        others = [pool.submit(everything, gallery, search, sketches[:4]) for _ in range(6)]
        assert all(ranking(one.result()) == truth[:4] for one in others)
        making.result()
    assert ranking(everything(gallery, search, sketches)) == truth


def test_memory_must_be_known() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, codes, features"):
        searcher("disk")
