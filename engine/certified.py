"""Certified search of a snapshot by its short codes: the float64 ranking, and what it took to prove it.

Codes are held in memory, a GPU's if that searches (some 0.5 KB a photo); features stay on the disk, mapped, or in the
GPU's memory too, and only the rows of photos that the screen leaves possible are read. Segments without codes are
screened by their features; where filters leave few photos, or codes don't help, the exact scan answers. Every answer
says which it was.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from engine.errors import ConfigError, DeviceMemoryError, GalleryError
from engine.exact import ExactSearch, Hit, ranked_hits, selected
from engine.gallery import Gallery, GallerySnapshot, SegmentView, Selection
from engine.plan import Plan, read_plan
from engine.read_ahead import ReadAhead
from engine.short_codes import ShortCodeFiles, gathered
from engine.types import SearchReport
from kernels.blocks import GalleryBlock
from kernels.dispatch import screening
from kernels.short.codes import ShortCodes
from kernels.short.screens import Codes
from kernels.short.search import CodedRun, nearest_screened
from kernels.short.sketches import Screened
from mlrm.features import Features

MEMORIES = ("auto", "codes", "features")


@dataclass(frozen=True)
class Answer:
    """What one sketch found, and how."""

    hits: list[Hit]
    report: SearchReport


@dataclass(frozen=True)
class _Coded:
    """A snapshot's segments in the order they are searched: those of `codes` first, then those that have none.

    held: the codes where they are searched, which may be a GPU. ahead: asks the disk for rows; for none
    where features are in a GPU's memory.
    """

    plan: Plan
    segments: tuple[SegmentView, ...]
    order: tuple[int, ...]
    codes: ShortCodes
    held: Codes
    coded: int
    ahead: ReadAhead


class CertifiedSearch:
    """Searches the snapshots of one gallery; keeps its codes in memory. Safe to share between threads.

    exact: what answers where codes don't. memory: "codes": searches are by short codes, and a gallery without them is
    an error; features stay on the disk, whatever the device; "features": by a scan of all features; "auto": by codes
    where the gallery has them, unless so many sketches are searched together that one scan for all costs less; on a GPU
    the features are in its memory too. Raises `ConfigError` for another `memory`.
    """

    def __init__(self, exact: ExactSearch, memory: str = "auto") -> None:
        if memory not in MEMORIES:
            raise ConfigError(f"memory is {memory!r}; expected one of {', '.join(MEMORIES)}")
        self._device, self._memory = exact.device, memory
        on_disk = memory == "codes" and exact.device.type != "cpu"
        self._exact = ExactSearch(torch.device("cpu")) if on_disk else exact
        self._lock = threading.Lock()
        self._snapshot: GallerySnapshot | None = None
        self._coded: _Coded | None = None

    def __call__(
        self,
        gallery: Gallery,
        selection: Selection,
        queries: Features,
        top_k: int,
        *,
        max_candidates: int | None = None,
    ) -> list[Answer]:
        """The `top_k` nearest of the selected photos, by (distance, id), for each of Q sketches.

        max_candidates: read the features of no more photos than this for a sketch; the report says whether the answer
        was proven all the same. Without codes there is nothing to bound: the scan answers.
        """
        power, coded = gallery.meta.region_weight_power, self._codes(gallery, selection.snapshot)
        if coded is None:
            return self._scanned(selection, queries, top_k, power, "")
        automatic = self._memory == "auto" and max_candidates is None
        if automatic and not coded.plan.pays_for(len(queries), _row_bytes(gallery), _further_scan(self._exact.device)):
            coded.ahead(None)
            note = f"{len(queries)} sketches at once: one scan of all features costs less"
            return self._scanned(selection, queries, top_k, power, note)
        blocks, numbers = selected(self._exact.blocks(selection.snapshot), selection)
        if numbers is not None or not blocks:
            return self._scanned(
                selection, queries, top_k, power, "few photos pass the filter: their features were read"
            )
        if len(blocks) != len(coded.order):  # a GPU's one block of all rows, in the order of the segments
            if len(coded.order) != coded.coded:
                note = "some photos have no codes yet: all features were read (`python -m engine optimize`)"
                return self._scanned(selection, queries, top_k, power, note)
            ordered, run = blocks, len(blocks)
        else:
            ordered, run = [blocks[number] for number in coded.order], coded.coded
        found = nearest_screened(
            queries.to(self._exact.device),
            _runs(ordered, run, coded.held),
            top_k + 1,  # the next distance tells how near the answer was to another one
            region_weight_power=power,
            impl=self._exact.impl,
            most=max_candidates,
            ahead=coded.ahead,
        )
        view = GallerySnapshot(selection.snapshot.generation, coded.segments)
        rows_left = sum(len(block) for block in ordered[run:])
        answers = []
        for one, ranked in zip(found, ranked_hits(view, [one.nearest for one in found]), strict=True):
            report = _report(one, ranked, top_k, coded.held, rows_left, gallery, len(selection))
            answers.append(Answer(ranked[:top_k], report))
        return answers

    def _scanned(self, selection: Selection, queries: Features, top_k: int, power: int, note: str) -> list[Answer]:
        found = self._exact(selection, queries, top_k + 1, power)
        photos = len(selection)
        rows = sum(level[:1].nbytes for level in selection.snapshot.segments[0].levels) if photos else 0
        return [
            Answer(
                hits[:top_k],
                SearchReport("features", True, photos, photos, photos, photos * rows, _gap(hits, top_k), note),
            )
            for hits in found
        ]

    def _codes(self, gallery: Gallery, snapshot: GallerySnapshot) -> _Coded | None:
        """The snapshot's codes, read when it is another one than before; None where search is to read features."""
        if self._memory == "features":
            return None
        with self._lock:
            if self._snapshot is None or snapshot.generation != self._snapshot.generation:
                self._coded = self._read(gallery, snapshot)
                self._snapshot = snapshot
            if self._memory == "codes" and self._coded is None and len(snapshot):
                raise GalleryError(
                    f"{gallery.path} has no short codes, and memory='codes' was asked for: run `python -m engine "
                    "optimize`, or use memory='auto'"
                )
            return self._coded

    def _read(self, gallery: Gallery, snapshot: GallerySnapshot) -> _Coded | None:
        plan, files = read_plan(gallery.path), ShortCodeFiles(gallery.path)
        if plan is None or plan.basis is None or (basis := files.read_basis(plan.basis)) is None:
            return None
        known, coded, segments = self._known(basis.name), list[int](), snapshot.segments
        if self._coded and known and list(known) == [segment.name for segment in segments]:
            # No new rows: photos were removed, or metadata changed.
            order = tuple(range(len(segments)))
            return replace(
                self._coded, plan=plan, segments=segments, order=order, ahead=self._ahead(segments, len(segments))
            )

        def parts() -> Iterator[ShortCodes]:
            for number, segment in enumerate(segments):
                codes = known[segment.name] if segment.name in known else files.read(segment.name, basis)
                if codes is not None and len(codes) == len(segment.region_weights):
                    coded.append(number)
                    yield codes

        joined = gathered(basis, [len(segment.region_weights) for segment in segments], parts())
        if not coded:
            return None
        order = (*coded, *sorted(set(range(len(segments))).difference(coded)))
        ordered = tuple(segments[number] for number in order)
        return _Coded(plan, ordered, order, joined, self._held(joined), len(coded), self._ahead(ordered, len(coded)))

    def _held(self, codes: ShortCodes) -> Codes:
        try:
            return screening("triton" if self._device.type == "cuda" else "cpu").hold_codes(codes, self._device)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"the gallery's short codes take {codes.nbytes / 2**30:.1f} GiB, more than is free on {self._device}: "
                f"{error}. Search on the CPU with device='cpu', or with memory='codes' if features are on the GPU too"
            ) from error

    def _ahead(self, segments: Sequence[SegmentView], coded: int) -> ReadAhead:
        return ReadAhead(segments if self._exact.device.type == "cpu" else (), coded)

    def _known(self, basis: str) -> dict[str, ShortCodes]:
        """The codes held of segments, as parts of what is joined: nothing is read twice."""
        if self._coded is None or self._coded.codes.basis.name != basis:
            return {}
        segments = self._coded.segments[: self._coded.coded]
        sizes = [len(segment.region_weights) for segment in segments]
        return dict(zip((one.name for one in segments), self._coded.codes.split(sizes), strict=True))


def _further_scan(device: torch.device) -> float:
    """What each sketch adds to a scan for one, a share of it, by the products' rate: measured with AVX2 and AMX."""
    if device.type != "cpu":
        return 0.0
    from kernels.cpu.products import fastest  # numba's import takes a while, and GPUs don't need it

    return 1 / 24 if fastest() in ("amx", "vnni") else 1 / 4  # VNNI is taken for AMX: so it scans sooner than it has to


def _runs(blocks: Sequence[GalleryBlock], coded: int, codes: Codes) -> list[CodedRun]:
    """The first blocks, which have codes, and the others."""
    return [CodedRun(tuple(blocks[:coded]), codes)] + [CodedRun(tuple(blocks[coded:]), None)] * (len(blocks) > coded)


def _report(
    one: Screened, hits: list[Hit], top_k: int, codes: Codes, rows_left: int, gallery: Gallery, photos: int
) -> SearchReport:
    notes = []
    if rows_left:
        notes.append(f"{rows_left} rows have no codes yet: their features were read (`python -m engine optimize`)")
    if one.fell_through:
        notes.append("too many photos were left to read one by one: all features were scanned")
    return SearchReport(
        "features" if one.fell_through else "codes",
        one.certified,
        photos,
        one.survivors,
        one.rescored,
        codes.nbytes + (rows_left + one.rows_read) * _row_bytes(gallery),
        _gap(hits, top_k) if one.certified else None,
        "; ".join(notes),
    )


def _row_bytes(gallery: Gallery) -> int:
    """Of a photo's features."""
    shapes = gallery.meta.shapes
    return 2 * shapes.regions * sum(shapes.level_dims)


def _gap(hits: Sequence[Hit], top_k: int) -> float | None:
    return hits[top_k].distance - hits[top_k - 1].distance if len(hits) > top_k else None
