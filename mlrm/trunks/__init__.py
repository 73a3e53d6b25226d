"""Trunks: an image is turned into level maps, with a tail that can be run again.

A trunk is used in three steps, `early`, `middle`, `tail`, because training may freeze and cache the first and LAMA
repeats the last.
"""

from collections.abc import Callable

from mlrm.trunks.base import Trunk
from mlrm.trunks.densenet import DenseNet169
from mlrm.trunks.efficientnet_lite import EfficientNetLite0, EfficientNetLite2

__all__ = ["DenseNet169", "EfficientNetLite0", "EfficientNetLite2", "Trunk", "build_trunk"]


def build_trunk(name: str) -> Trunk:
    """The trunk called `name` in `MLRMConfig.trunk`, randomly initialised."""
    trunks: dict[str, Callable[[], Trunk]] = {
        "densenet169": DenseNet169,
        "efficientnet_lite0": EfficientNetLite0,
        "efficientnet_lite2": EfficientNetLite2,
    }
    return trunks[name]()
