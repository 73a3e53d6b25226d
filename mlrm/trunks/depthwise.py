"""Depthwise convolution whose gradients are fast on a CPU in bfloat16.

oneDNN has no fast kernels for them, in bfloat16 least of all: at 8 x 1152 channels, 8 x 8, 5 x 5 taps, its float32
ones take 27 ms of one core of a Xeon with AMX, where ours take 4. They were most of a training step.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlrm.trunks.depthwise_gradients import gradients


class _OurGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight.to(x.dtype), None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = gradients(x, grads[0], weight.float(), ctx.stride, ctx.padding, ctx.needs_input_grad[0])
        return of_x, of_weight.to(weight.dtype) if ctx.needs_input_grad[1] else None, None, None


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """`conv2d` of x [B, C, H, W] with one kernel a channel, weight [C, 1, k, k]."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
        result: Tensor = _OurGradients.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
        return result
    return functional.conv2d(x, weight, None, stride, padding, groups=len(weight))
