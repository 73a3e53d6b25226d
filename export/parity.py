"""Whether an exported model is the original: its outputs, and above all its rankings, side by side with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from export.images import ImagePairs, Progress
from kernels import distance_topk
from mlrm.accuracy import Accuracy, accuracy
from mlrm.features import Features
from mlrm.model import MLRM, Domain

TOP_K = 10
ORIGINAL_BATCH = 8
Encode = Callable[[Tensor, Domain], Features]
"""uint8 images [B, 3, size, size] and their domain -> features, float32 on any device."""
Sides = tuple[Features, Features]
"""Of sketches, and of photos."""


@dataclass(frozen=True)
class Tolerance:
    """What an exported model of a precision may differ by."""

    error: float
    """Largest error of any output, relative to the output's largest value (`largest` or `rms` of `OutputError`)."""
    measure: str
    """Which of them: float32 has no outliers to forgive, low precision is judged by the root mean square."""
    top10: float
    """Least share of the original's 10 nearest photos that are found."""
    top1: float = 0.0


TOLERANCES = {
    "fp32": Tolerance(1e-4, "largest", top10=1.0, top1=1.0),
    "fp16": Tolerance(1e-2, "rms", top10=0.98),
    "bf16": Tolerance(6e-2, "rms", top10=0.98),
    "int8": Tolerance(2e-1, "rms", top10=0.90),
}
"""The errors of low precision are two to three times the shipped model's, measured (docs/export.md)."""


def looser(one: str, other: str) -> str:
    """The one of two precisions that may differ by more."""
    return max(one, other, key=list(TOLERANCES).index)


@dataclass(frozen=True)
class OutputError:
    """One output's difference from the original at one batch size."""

    output: str
    batch: int
    largest: float
    """max |a - b| / max |b|."""
    rms: float
    """|| a - b || / || b ||."""
    cosine: float
    """Smallest of the batch's images."""


@dataclass(frozen=True)
class RankingError:
    """How two models rank the same photos for the same sketches; shares and means over the sketches."""

    top1: float
    top10: float
    correlation: float
    """Spearman's, of a sketch's distances to all photos."""
    accuracy: Accuracy
    original_accuracy: Accuracy


@dataclass(frozen=True)
class Parity:
    """The report; `failures` is empty where the model passes."""

    runtime: str
    dtype: str
    images: str
    trained: bool
    outputs: tuple[OutputError, ...]
    ranking: RankingError
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every difference is within the precision's tolerance."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For the report's JSON."""
        return asdict(self) | {"passed": self.passed}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Parity:
        """What `to_dict` gave, or its JSON. Raises `KeyError` or `TypeError` for anything else."""
        ranking = dict(values["ranking"])
        for name in ("accuracy", "original_accuracy"):
            ranking[name] = Accuracy(**ranking[name])
        found = {field.name: values[field.name] for field in fields(cls)} | {
            "outputs": tuple(OutputError(**output) for output in values["outputs"]),
            "ranking": RankingError(**ranking),
            "failures": tuple(values["failures"]),
        }
        return cls(**found)


def is_trained(model: MLRM) -> bool:
    """Whether any training step ran through the model's heads: of untrained ones, rankings are noise."""
    steps = [
        value for name, value in model.state_dict().items() if name.startswith("rla.") and name.endswith("tracked")
    ]
    return any(int(value) > 0 for value in steps)


def original(model: MLRM) -> Encode:
    """The PyTorch model, float32, as something to compare with."""

    def encode(images: Tensor, domain: Domain) -> Features:
        with torch.inference_mode():
            features: Features = model(images, domain)
        return features

    return encode


def both_sides(run: Encode, images: ImagePairs, batch: int, name: str, progress: Progress) -> Sides:
    """Features of all sketches and photos, so many at a time; name: of what runs, for the progress shown."""

    def side(domain: Domain, pixels: Tensor) -> Features:
        shown = f"parity: {domain}s by {name}"
        return _in_batches(run, pixels, domain, batch, lambda done: progress(shown, done, len(pixels)))

    return side("sketch", images.sketches), side("photo", images.photos)


def compare(
    encode: Encode,
    model: MLRM,
    images: ImagePairs,
    *,
    runtime: str,
    dtype: str,
    batches: Sequence[int],
    progress: Progress,
    expected: Sides | None = None,
) -> Parity:
    """Run `encode` and `model` (in eval mode) on the same images.

    batches: batch sizes the outputs are compared at, for sketches and photos; those of the largest are ranked. Where
    there are fewer images, they are repeated. dtype: a key of `TOLERANCES`, which the result is judged by.
    expected: what `both_sides` gave of the original, where it has run on these images before.
    """
    largest = max(batches)
    if expected is None:
        expected = both_sides(original(model), images, ORIGINAL_BATCH, "the original", progress)

    def run(pixels: Tensor, domain: Domain) -> Features:
        return encode(pixels, domain).to("cpu")

    found = both_sides(run, images, largest, runtime, progress)
    outputs: list[OutputError] = []
    for batch in sorted(set(batches)):
        rows = [row % len(images.sketches) for row in range(batch)]
        if batch == largest and batch <= len(images.sketches):
            at_batch = found
        else:
            at_batch = run(images.sketches[rows], "sketch"), run(images.photos[rows], "photo")
        pairs = zip(at_batch, expected, strict=True)
        parts = [(new[list(range(batch))], old[rows]) for new, old in pairs]
        outputs += _output_errors(Features.cat(new for new, _ in parts), Features.cat(old for _, old in parts), batch)
    power = model.config.region_weight_power
    ranking = ranking_error(_nearest(*found, power), _nearest(*expected, power), images.photo_of)
    trained = is_trained(model)
    failures = judge(TOLERANCES[dtype], outputs, ranking if trained else None)
    return Parity(runtime, dtype, images.name, trained, tuple(outputs), ranking, tuple(failures))


def judge(tolerance: Tolerance, outputs: Sequence[OutputError], ranking: RankingError | None) -> list[str]:
    """What is beyond the tolerance, one sentence each; `ranking` None where rankings mean nothing."""
    failures = []
    for output in outputs:
        # Not "error > limit": NaN must fail.
        if not (error := getattr(output, tolerance.measure)) <= tolerance.error:
            failures.append(
                f"{output.output} at batch {output.batch}: {tolerance.measure} relative error {error:.2g}, expected at "
                f"most {tolerance.error:g}"
            )
    if ranking is not None:
        for name in ("top1", "top10"):
            if not (share := getattr(ranking, name)) >= (least := getattr(tolerance, name)):
                failures.append(f"{name} overlap with the original {share:.4f}, expected at least {least:g}")
    return failures


def _in_batches(run: Encode, images: Tensor, domain: Domain, batch: int, progress: Callable[[int], None]) -> Features:
    parts = []
    for start in range(0, len(images), batch):
        parts.append(run(images[start : start + batch], domain))
        progress(min(start + batch, len(images)))
    return Features.cat(parts)


def _output_errors(found: Features, expected: Features, batch: int) -> list[OutputError]:
    def named(features: Features) -> dict[str, Tensor]:
        assert features.maps is not None
        levels = {f"level_{number}": level for number, level in enumerate(features.levels, 1)}
        weights = {"region_weights": features.region_weights, "level_weights": features.level_weights}
        return {name: tensor.double() for name, tensor in (levels | weights | {"maps": features.maps}).items()}

    errors = []
    for (name, old), new in zip(named(expected).items(), named(found).values(), strict=True):
        difference = new - old
        cosine = torch.nn.functional.cosine_similarity(new.flatten(1), old.flatten(1), dim=1).min()
        largest, rms = difference.abs().max() / old.abs().max(), difference.norm() / old.norm()
        errors.append(OutputError(name, batch, float(largest), float(rms), float(cosine)))
    return errors


def _nearest(sketch: Features, photo: Features, region_weight_power: int) -> Tensor:
    """Rows of all photos, from each sketch's nearest on, [Q, G]."""
    return distance_topk(sketch, photo, len(photo), region_weight_power=region_weight_power, impl="reference")[1]


def ranking_error(found: Tensor, expected: Tensor, photo_of: Sequence[int]) -> RankingError:
    """Compare two rankings, [Q, G] rows of photos from the nearest on; photo_of: each sketch's own photo."""
    photos = expected.shape[1]

    def overlap(k: int) -> float:
        shared = (found[:, :k, None] == expected[:, None, :k]).any(2)
        return float(shared.double().mean())

    # The rank of each photo. Equal distances have an order too, by row, so Spearman's is Pearson's of the ranks.
    ranks = [order.argsort(1).double() for order in (found, expected)]
    a, b = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    correlation = torch.nn.functional.cosine_similarity(a, b, dim=1).mean()
    own = torch.tensor(photo_of)[:, None]
    accuracies = [accuracy(rank.gather(1, own)[:, 0].long() + 1, photos) for rank in ranks]
    return RankingError(overlap(1), overlap(min(TOP_K, photos)), float(correlation), *accuracies)
