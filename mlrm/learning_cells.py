"""The cells of the learning curve: how much of the data a model is trained on, and which part that is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mlrm.errors import DatasetError
from mlrm.training_data import PSEUDO_WEIGHT
from mlrm.training_pairs import Identity, TrainingPairs

PHOTOS, SKETCHED = "photos", "sketched"
"""The two kinds of products: photos that nobody sketched, with drawings made by program; and what people sketched."""
KINDS: dict[str, Callable[[Identity], bool]] = {
    PHOTOS: lambda product: product.weight == PSEUDO_WEIGHT,
    SKETCHED: lambda product: product.weight != PSEUDO_WEIGHT,
}


@dataclass(frozen=True)
class Cell:
    """A share of each kind of products to train on."""

    name: str
    group: str
    photos: float = 1.0
    sketched: float = 1.0

    def part(self, pairs: TrainingPairs, seed: int) -> TrainingPairs:
        """This share of the products of `pairs`, as `mlrm.training_data.read_training` weighs them.

        Which products depends on their names and the seed; a smaller share is part of a larger. What is left of a kind
        weighs as much as all of it did, so that every cell sees as much of each category and kind, only more often.

        Raises `DatasetError` where a category keeps less than two products or none of a kind, and where there are no
        photos to take a share of.
        """
        if self.photos < 1 and not any(counts(pairs, pairs)[category][PHOTOS] for category in pairs.categories):
            raise DatasetError(f"{self.name}: there are none; give --pseudo NAME=FOLDER, or --only all --only sketched")
        part = pairs.part(self.photos, seed, KINDS[PHOTOS]).part(self.sketched, seed, KINDS[SKETCHED])
        part.steps_per_epoch(1)
        for category, whole in pairs.categories.items():
            for kind, belongs in KINDS.items():
                # Of the weights as they were: those of the part change here.
                before, left = (
                    [name for name in some if belongs(whole[name])] for some in (whole, part.categories[category])
                )
                if before and not left:
                    raise DatasetError(
                        f"{self.name}: nothing is left of the {len(before)} products ({kind}) of {category}"
                    )
                for name in left:
                    weight = whole[name].weight * len(before) / len(left)
                    part.categories[category][name] = replace(whole[name], weight=weight)
        return part


ALL = Cell("all", "all")
CELLS = (
    ALL,
    Cell("half of the photos", PHOTOS, photos=1 / 2),
    Cell("a quarter of the photos", PHOTOS, photos=1 / 4),
    Cell("half of the sketched products", SKETCHED, sketched=1 / 2),
    Cell("a quarter of the sketched products", SKETCHED, sketched=1 / 4),
    Cell("an eighth of the photos", PHOTOS, photos=1 / 8),
    Cell("an eighth of the sketched products", SKETCHED, sketched=1 / 8),
)
"""The most telling first, so that a study which is stopped has answered most."""


def counts(pairs: TrainingPairs, of: TrainingPairs) -> dict[str, dict[str, int]]:
    """How many products of each kind there are in `of`, a part of `pairs`, by category."""
    return {
        category: {
            kind: sum(belongs(pairs.categories[category][name]) for name in left) for kind, belongs in KINDS.items()
        }
        for category, left in of.categories.items()
    }
