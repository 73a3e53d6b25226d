"""What a training run is made of, beside the model and the data."""

from dataclasses import dataclass

from mlrm.errors import ConfigError
from mlrm.ranges import require_choice, require_number, require_positive, require_whole

LARGEST_SEED = 2**64 - 1
LOSS_NAMES = ("gtrp_in", "gtrp_rn", "ltrp_in", "ltrp_rn", "overlap_sketch", "overlap_photo")


@dataclass(frozen=True)
class TrainOptions:
    """Options of `mlrm.trainer.Trainer`; raises `ConfigError` for those that can't be."""

    epochs: int = 60
    batch: int = 16
    """Pairs a step."""
    lr: float = 3e-4
    """Learning rate of the parts that start from scratch."""
    trunk_lr: float = 1e-4
    """Learning rate of the trunk's stages that are not frozen; 0 leaves their weights as they are."""
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    """Steps over which the learning rates rise; 1 for none."""
    separate_steps: int = 60
    """Steps before the first epoch that give each region a lying band of the image. LAMA's penalty keeps equal maps
    equal: where maps nearly agree it presses hardest on the highest, so they close up; once they are apart, it keeps
    them so. Bands, because together they see the whole object, in a product's own order of parts."""
    separate_lr: float = 2e-3
    average: float = 0.99
    """Decay of the running average of the weights, which is what is validated and kept."""
    freeze_batch_norm: bool = True
    """Keep the trunk's BatchNorm statistics: a batch is small, and sketches' differ from photos'."""
    cache_variants: int = 8
    """Augmented variants of every image kept as early maps, whose stages are frozen; 0: augment at every step."""
    freeze_early: bool = True
    mixed_precision: bool = True
    """bfloat16 in the convolutions, where the device has it (`mlrm.devices.computes_bfloat16`)."""
    evaluate_every: int = 5
    seed: int = 0
    left_out: tuple[str, ...] = ()
    """Losses and penalties that the total is made without, for ablations."""

    def __post_init__(self) -> None:
        for name in ("epochs", "warmup_steps", "evaluate_every"):
            require_whole(name, getattr(self, name), 1)
        for name in ("separate_steps", "cache_variants", "seed"):
            require_whole(name, getattr(self, name), 0)
        for name in ("lr", "separate_lr"):
            require_positive(name, getattr(self, name))
        for name in ("trunk_lr", "weight_decay"):
            require_number(name, getattr(self, name))
        require_number("average", self.average, below=1)
        for name in ("freeze_batch_norm", "freeze_early", "mixed_precision"):
            require_choice(name, getattr(self, name), (True, False))
        for name in self.left_out:
            require_choice("left_out", name, LOSS_NAMES)
        if self.seed > LARGEST_SEED:
            raise ConfigError(f"seed is {self.seed}; expected at most {LARGEST_SEED}, what torch can take")
        if self.cache_variants and (self.cache_variants % 2 or not self.freeze_early):
            raise ConfigError(
                f"cache_variants is {self.cache_variants} with freeze_early={self.freeze_early}; expected 0, or an "
                "even number (half of them flipped) with frozen early stages"
            )
        if type(self.batch) is not int or self.batch < 2:
            raise ConfigError(f"batch is {self.batch!r}; expected at least 2 pairs, a triplet needs a negative")
