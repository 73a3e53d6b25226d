import json
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlrm.config import TRUNKS as TRUNKS_OF_CONFIG
from mlrm.errors import CheckpointError
from mlrm.trunks import DenseNet169, EfficientNetLite0, EfficientNetLite2, Trunk, build_trunk
from mlrm.trunks.depthwise import depthwise_conv2d
from mlrm.trunks.efficientnet_lite import _SameConv2d

RELEASED = Path(__file__).parents[1] / "golden" / "authors_state_dict.json"
TRUNK_KEY = "nets.0.net."


@cache
def densenet() -> DenseNet169:
    torch.manual_seed(0)
    return DenseNet169().eval()


@cache
def lite() -> EfficientNetLite0:
    torch.manual_seed(0)
    return EfficientNetLite0().eval()


@cache
def lite2() -> EfficientNetLite2:
    torch.manual_seed(0)
    return EfficientNetLite2().eval()


NAMED = {"densenet169": densenet, "efficientnet_lite0": lite, "efficientnet_lite2": lite2}
TRUNKS = pytest.mark.parametrize("trunk", NAMED.values(), ids=NAMED.keys())


# Levels


@TRUNKS
@pytest.mark.parametrize("side", [256, 224])
@torch.no_grad()
def test_levels_have_the_channels_and_grids_of_the_specification(trunk: Callable[[], Trunk], side: int) -> None:
    channels = {
        "DenseNet169": (256, 512, 1280, 1664),
        "EfficientNetLite0": (24, 40, 112, 1280),
        "EfficientNetLite2": (24, 48, 120, 1280),
    }
    expected = channels[type(trunk()).__name__]
    level0, level1 = trunk().early(torch.randn(1, 3, side, side))
    x3 = trunk().middle(level1)
    levels = level0, level1, x3, trunk().tail(x3)
    assert trunk().channels == expected
    assert [tuple(level.shape) for level in levels] == [
        (1, count, side // stride, side // stride) for count, stride in zip(expected, (4, 8, 16, 32), strict=True)
    ]


@TRUNKS
def test_gradients_go_back_channels_last_where_the_maps_are(trunk: Callable[[], Trunk]) -> None:
    x3 = torch.randn(2, trunk().channels[2], 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    level3, layouts = trunk().tail(x3), []
    assert level3.is_contiguous(memory_format=torch.channels_last)
    level3.register_hook(lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    # What attention reads sends back a gradient whose channels all lie in one place.
    (level3.mean(1, keepdim=True) * torch.arange(1.0, 5).reshape(2, 1, 1, 2).expand(2, 1, 2, 2)).sum().backward()
    assert layouts == [True]
    assert x3.grad is not None
    assert x3.grad.abs().sum() > 0


@TRUNKS
@torch.no_grad()
def test_reductions_bring_a_level_to_the_last_grid_and_are_new_each_time(trunk: Callable[[], Trunk]) -> None:
    for level in (0, 1, 2):
        first, second = trunk().reduction(level), trunk().reduction(level)
        reduced = first(torch.randn(1, trunk().channels[level], 32 // 2**level * 2, 28 // 2**level * 2))
        assert reduced.shape == (1, trunk().reduced_channels[level], 8, 7)
        assert (reduced >= 0).all()
        assert not set(first.parameters()) & set(second.parameters())


@pytest.mark.parametrize(
    ("name", "level", "shapes"),
    [
        ("densenet169", 1, [(128, 512, 3, 3), (512, 128, 3, 3)]),
        ("densenet169", 2, [(320, 1280, 3, 3), (1280, 320, 1, 1)]),
        ("efficientnet_lite0", 1, [(64, 40, 3, 3), (256, 64, 3, 3)]),
        ("efficientnet_lite0", 2, [(128, 112, 3, 3), (512, 128, 1, 1)]),
        ("efficientnet_lite2", 1, [(64, 48, 3, 3), (256, 64, 3, 3)]),
        ("efficientnet_lite2", 2, [(128, 120, 3, 3), (512, 128, 1, 1)]),
    ],
)
def test_reductions_are_those_of_the_specification(name: str, level: int, shapes: list[tuple[int, ...]]) -> None:
    reduction = NAMED[name]().reduction(level)
    assert [tuple(p.shape) for p in reduction.parameters() if p.ndim == 4] == shapes


@TRUNKS
@torch.no_grad()
def test_the_tail_as_one_module_is_the_tail(trunk: Callable[[], Trunk]) -> None:
    x3 = torch.randn(1, trunk().channels[2], 14, 14)
    assert torch.equal(trunk().tail_modules()(x3.clone()), trunk().tail(x3))


@torch.no_grad()
def test_only_the_light_trunks_end_in_a_rectifier() -> None:
    assert densenet().tail(torch.randn(1, 1280, 16, 16)).min() < 0
    for trunk in (lite(), lite2()):
        level3 = trunk.tail(1e6 * torch.randn(1, trunk.channels[2], 16, 16))
        assert level3.min() == 0
        assert level3.max() <= 6


def test_trunks_are_built_by_name() -> None:
    assert {name: type(build_trunk(name)) for name in NAMED} == {name: type(trunk()) for name, trunk in NAMED.items()}
    assert set(NAMED) == set(TRUNKS_OF_CONFIG)


# DenseNet-169's weights


def test_densenet_has_the_names_and_shapes_of_the_released_state_dict() -> None:
    released = json.loads(RELEASED.read_text())
    expected = {
        key.removeprefix(TRUNK_KEY): shape for key, shape in released.items() if key.startswith(TRUNK_KEY + "features.")
    }
    assert {key: list(value.shape) for key, value in densenet().state_dict().items()} == expected


def published_densenet() -> dict[str, Tensor]:
    """A state dict as torchvision and timm publish it: with the classifier that MLRM has no use for."""
    classifier = {"classifier.weight": torch.zeros(1000, 1664), "classifier.bias": torch.zeros(1000)}
    return {key: value + 1 for key, value in densenet().state_dict().items()} | classifier


def old_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of torchvision before 0.3: dots inside dense layers' names, and no step counters."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("form", [dict, old_form], ids=["new", "old"])
def test_densenet_reads_published_weights(form: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    published = published_densenet()
    assert any(".norm.1." in key for key in form(published)) == (form is old_form)
    trunk = DenseNet169()
    trunk.load_pretrained(form(published))
    counters = 0
    for key, value in trunk.state_dict().items():
        if form is old_form and key.endswith("num_batches_tracked"):
            counters += 1
        else:
            assert torch.equal(value, published[key]), key
    assert counters == (169 if form is old_form else 0)


def without_one(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != "features.conv0.weight"}


def with_another(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"head.weight": torch.zeros(1)}


def of_another_shape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"features.conv0.weight": torch.zeros(64, 1, 7, 7)}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (without_one, r"1 entries missing \(first \['features\.conv0\.weight'\]\), 0 unknown.*0 of another"),
        (with_another, r"0 entries missing.*1 unknown \(first \['head\.weight'\]\), 0 of another shape"),
        (of_another_shape, r"0 entries missing.*0 unknown.*1 of another shape \(first \['features\.conv0"),
        (lambda _: {}, "entries missing"),
    ],
    ids=["missing", "unknown", "shape", "empty"],
)
def test_densenet_refuses_other_weights_and_stays_as_it_was(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], counts: str
) -> None:
    before = densenet().state_dict()["features.norm0.weight"].clone()
    with pytest.raises(CheckpointError, match=counts):
        densenet().load_pretrained(change(published_densenet()))
    assert torch.equal(densenet().state_dict()["features.norm0.weight"], before)


def test_trunks_refuse_each_others_weights() -> None:
    with pytest.raises(CheckpointError, match="are not DenseNet-169 weights"):
        densenet().load_pretrained(lite().state_dict())
    with pytest.raises(CheckpointError, match="are not EfficientNet-Lite0 weights"):
        lite().load_pretrained(published_densenet())
    with pytest.raises(CheckpointError, match="are not EfficientNet-Lite2 weights"):
        lite2().load_pretrained(lite().state_dict())


# EfficientNet-Lite's sizes, those of the published weight files, and its padding


def test_the_larger_light_trunk_is_as_wide_and_deep_as_published() -> None:
    stages: dict[int, list[int]] = {}
    for name, value in lite2().state_dict().items():
        if name.endswith("_project_conv.weight"):
            stages.setdefault(len(value), []).append(int(name.split(".")[1]))
    blocks = {16: 1, 24: 3, 48: 3, 88: 4, 120: 4, 208: 5, 352: 1}
    assert {outputs: len(numbers) for outputs, numbers in stages.items()} == blocks
    assert [number for outputs in blocks for number in stages[outputs]] == list(range(21))
    assert lite2().state_dict()["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert lite2().state_dict()["_conv_head.weight"].shape == (1280, 352, 1, 1)
    assert sum(parameter.numel() for parameter in lite2().parameters()) == 4_811_072


def tensorflow_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's rule for padding="SAME": as little as gives ceil(size / stride) outputs, the odd pixel last."""
    pads = []
    for size in reversed(x.shape[2:]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2), (7, 2)])
def test_same_padding_is_tensorflows(kernel: int, stride: int, groups: int) -> None:
    convolution = _SameConv2d(6, 6, kernel, stride, groups)
    x = torch.randn(2, 6, 14, 18)
    expected = functional.conv2d(tensorflow_same(x, kernel, stride), convolution.weight, None, stride, groups=groups)
    assert expected.shape[2:] == (14 // stride, 18 // stride)
    assert torch.allclose(convolution(x), expected, atol=1e-6)


# Depthwise convolution


def depthwise_gradients(
    convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    convolve(x, weight).backward(upstream)
    assert x.grad is not None
    assert weight.grad is not None
    return x.grad, weight.grad


SHAPES = pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])


def depthwise_case(kernel: int, stride: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Numbers that bfloat16 holds exactly: input, weight, gradient of the output, and the padding."""
    generator = torch.Generator().manual_seed(kernel)
    padding = kernel // 2

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).bfloat16().float()

    side = 16 // stride
    return normal(2, 8, 16, 16), normal(8, 1, kernel, kernel), normal(2, 8, side, side), padding


@SHAPES
def test_depthwise_convolution_in_float32_is_the_plain_one(kernel: int, stride: int) -> None:
    x, weight, upstream, padding = depthwise_case(kernel, stride)

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(x, weight, None, stride, padding, groups=8)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return depthwise_conv2d(x, weight, stride, padding)

    assert torch.equal(ours(x, weight), plain(x, weight))
    for found, expected in zip(
        depthwise_gradients(ours, x, weight, upstream),
        depthwise_gradients(plain, x, weight, upstream),
        strict=True,
    ):
        assert torch.equal(found, expected)


@SHAPES
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_depthwise_gradients_in_bfloat16_are_those_of_float32_rounded_once(
    kernel: int, stride: int, weight_dtype: torch.dtype
) -> None:
    x, weight, upstream, padding = depthwise_case(kernel, stride)
    exact = depthwise_gradients(
        lambda x, weight: functional.conv2d(x, weight, None, stride, padding, groups=8), x, weight, upstream
    )
    found = depthwise_gradients(
        lambda x, weight: depthwise_conv2d(x, weight, stride, padding),
        x.bfloat16(),
        weight.to(weight_dtype),
        upstream.bfloat16(),
    )
    assert [grad.dtype for grad in found] == [torch.bfloat16, weight_dtype]
    for grad, expected in zip(found, exact, strict=True):
        # Half a unit of bfloat16's last place (8 bits); float32 sums leave 1e-6 of the largest.
        unit = 2**-8 * expected.abs() if grad.dtype == torch.bfloat16 else torch.zeros(())
        assert ((grad.float() - expected).abs() <= unit + 1e-6 * expected.abs().max()).all()


def test_depthwise_gradients_are_computed_only_where_they_are_asked_for() -> None:
    x, weight, upstream, padding = depthwise_case(5, 2)
    x = x.bfloat16().requires_grad_()
    depthwise_conv2d(x, weight, 2, padding).backward(upstream.bfloat16())
    assert x.grad is not None
    assert weight.grad is None


def test_mixed_precision_trains_the_light_trunk_as_float32_does() -> None:
    """The gradient of a whole block, through the custom backward, is the float32 one within bfloat16's noise."""
    torch.manual_seed(0)
    block = lite()._blocks[11].train()
    x = torch.randn(4, 112, 14, 14)
    found = []
    for enabled in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = block(x)
        (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None]))
    lite().eval()
    assert functional.cosine_similarity(found[0], found[1], dim=0) > 0.99


def test_every_convolution_of_the_light_trunk_but_the_first_is_depthwise_or_pointwise() -> None:
    convolutions = [module for module in lite().modules() if isinstance(module, nn.Conv2d)]
    others = [c for c in convolutions if c.kernel_size != (1, 1) and c.groups != c.in_channels]
    assert others == [lite()._conv_stem]
    assert len(convolutions) == 16 * 3 - 1 + 2
