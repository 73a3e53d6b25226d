"""Images on their way to the device that encodes them."""

import torch
from torch import Tensor


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Images on `device`, uncopied where they are there already.

    From the CPU to a GPU by way of pinned memory, so that the copy waits for nothing the GPU has to do.
    """
    if device.type != "cuda":
        return images.to(device)
    return (images.pin_memory() if images.device.type == "cpu" else images).to(device, non_blocking=True)
