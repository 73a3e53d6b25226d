"""Devices by name, none taken in place of another."""

import torch

from mlrm.errors import ConfigError

_EXPECTED = "device is {!r}; expected auto, cpu, cuda or cuda:N"


def find_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one. Raises `ConfigError` for one that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(_EXPECTED.format(name)) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(_EXPECTED.format(name))
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device {name!r} was asked for and torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; use "
            "device cpu, or install a CUDA build of torch and check nvidia-smi"
        )
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 saves time there: on GPUs, and on CPUs that have instructions for it or AVX-512.

    Others emulate it: EfficientNet-Lite0 takes 15 times as long in it as in float32 where AVX2 is all there is.
    """
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
