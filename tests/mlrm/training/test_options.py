"""Options that can be, and one message for those that cannot."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlrm.errors import ConfigError
from mlrm.train_options import TrainOptions
from tests.mlrm.training.runs import CONFIG, trainer_of

WHOLE = ("epochs", "batch", "warmup_steps", "separate_steps", "evaluate_every", "seed", "cache_variants")
RATES = ("lr", "trunk_lr", "weight_decay", "separate_lr", "average")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_variants": 1}, "expected 0, or an even number"),
        ({"cache_variants": 3}, "expected 0, or an even number"),
        ({"cache_variants": 2, "freeze_early": False}, "freeze_early=False"),
        ({"batch": 1}, "a triplet needs a negative"),
        *(({name: 0}, f"{name} is 0; expected a whole number of at least 1") for name in ("epochs", "evaluate_every")),
        ({"warmup_steps": 0}, "warmup_steps is 0; expected a whole number of at least 1"),
        ({"lr": 0.0}, "lr is 0.0; expected a number above 0"),
        ({"separate_lr": 0}, "separate_lr is 0; expected a number above 0"),
        ({"average": 1.0}, "average is 1.0; expected a number of at least 0 and below 1"),
        ({"seed": 2**64}, "seed is 18446744073709551616; expected at most"),
        *(({name: value}, f"{name} is {value}; expected") for name in WHOLE for value in (-1, 2.0, True)),
        *(({name: value}, f"{name} is {value}; expected") for name in RATES for value in (-1e-3, math.inf, math.nan)),
        *(({name: 1}, f"{name} is 1; expected one of True") for name in ("freeze_batch_norm", "mixed_precision")),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TrainOptions(**options)


def test_options_at_the_ends_of_their_ranges_are_taken() -> None:
    TrainOptions(epochs=1, batch=2, warmup_steps=1, separate_steps=0, evaluate_every=1, seed=2**64 - 1)
    TrainOptions(trunk_lr=0, weight_decay=0.0, average=0, cache_variants=0, freeze_early=False)


def test_level_0_cannot_be_cached(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use cache_variants=0"):
        trainer_of(data, tmp_path, config=replace(CONFIG, levels=(0, 3)))
