"""What the paper states of the four methods: seconds to search a whole test set on one GPU, and acc@1 in %."""

from enum import StrEnum


class Method(StrEnum):
    """A way to compare a sketch with a photo."""

    TC_NET = "TC-Net"  # one global vector
    LA = "LA"  # local features at the same position of the grid
    DLA = "DLA"  # each position of the sketch with the nearest position of the photo
    MLRM = "MLRM"  # three regions at three levels, weighted


SECONDS = {
    "ChairV2": {Method.TC_NET: 5.3, Method.LA: 27.5, Method.DLA: 236.7, Method.MLRM: 11.8},
    "Sketchy": {Method.TC_NET: 8.2, Method.LA: 46.8, Method.DLA: 639.3, Method.MLRM: 14.1},
}
ACC1 = {
    "ChairV2": {Method.TC_NET: 65.3, Method.LA: 64.8, Method.DLA: 69.2, Method.MLRM: 74.3},
    "Sketchy": {Method.TC_NET: 40.8, Method.LA: 43.1, Method.DLA: 54.9, Method.MLRM: 57.2},
    "chairs": {Method.TC_NET: 95.9, Method.LA: 93.8, Method.DLA: 99.0, Method.MLRM: 99.0},
    "shoes": {Method.TC_NET: 63.5, Method.LA: 57.4, Method.DLA: 79.1, Method.MLRM: 67.0},
}


def ratio(size: str, method: Method) -> float | None:
    """The method's seconds over TC-Net's; None where nothing is published."""
    seconds = SECONDS.get(size)
    return None if seconds is None else seconds[method] / seconds[Method.TC_NET]
