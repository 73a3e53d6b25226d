"""Depthwise convolution whose gradients are fast on a CPU in bfloat16.

oneDNN has no fast bfloat16 kernels for two of its gradients: the input's at stride 2 and the weight's of a 5 x 5
kernel (870 and 260 ms where float32 takes 50 and 45: 128 x 672 channels, 16 x 16, 2 cores of an EPYC 9004). They
were half of a training step, so here the gradients are computed in float32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _Float32Gradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight.to(x.dtype), None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
        mask = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grads[0].float(), x.float(), weight, None, stride, padding, [1, 1], False, [0, 0], len(weight), mask
        )
        return None if grad_x is None else grad_x.to(x.dtype), grad_weight, None, None


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """`conv2d` of x [B, C, H, W] with one kernel a channel, weight [C, 1, k, k]."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
        result: Tensor = _Float32Gradients.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
        return result
    return functional.conv2d(x, weight, None, stride, padding, groups=len(weight))
