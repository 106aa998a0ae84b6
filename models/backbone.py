"""EfficientNet-Lite0 as four feature maps of strides 8, 16, 16 and 32 from one grey image.

Tan and Le, "EfficientNet" (2019), in its "lite" form: inverted bottlenecks, ReLU6, no squeeze-and-excitation.
Its batch normalisation is folded away: statistics of small mixed batches would only add noise.
Shape letters: B images, S side of the image in pixels, C channels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(NamedTuple):
    """`repeats` blocks of one width; the first of them has `stride`."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STEM_WIDTH = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
OUTPUT_STAGES = (2, 3, 4, 6)
OUTPUT_WIDTHS = tuple(STAGES[i].width for i in OUTPUT_STAGES)
_BATCH_NORM_EPS = 1e-3


class _FilterEach(torch.autograd.Function):
    """A depthwise convolution in the dtype of its input whose gradient is computed in float32.

    On a CPU the bf16 forward pass is twice as fast as the float32 one, the bf16 gradient ten times slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        """Map (B, C, H, W) and filters (C, 1, K, K) to (B, C, H / stride, W / stride)."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Return the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        padding, channels = [weight.shape[-1] // 2] * 2, len(weight)
        with torch.autocast("cpu", enabled=False):
            of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
                gradients[0].float(),
                x.float(),
                weight.float(),
                [channels],
                [ctx.stride] * 2,
                padding,
                [1, 1],
                False,
                [0, 0],
                channels,
                list(ctx.needs_input_grad[:3]),
            )
        return (of_x.to(x.dtype) if of_x is not None else None), of_weight, of_bias, None


class Depthwise(nn.Conv2d):
    """Filters each channel by itself."""

    bias: Tensor

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__(width, width, kernel, stride, kernel // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / stride, W / stride)."""
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                filtered: Tensor = _FilterEach.apply(x, self.weight, self.bias, self.stride[0])  # type: ignore[no-untyped-call]
                return filtered
        return super().forward(x)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel by itself, project; added to its input where the shapes agree."""

    def __init__(self, width_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = width_in * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion != 1:
            layers += [nn.Conv2d(width_in, inner, 1), nn.ReLU6(inplace=True)]
        layers += [Depthwise(inner, stage.kernel, stride), nn.ReLU6(inplace=True)]
        layers += [nn.Conv2d(inner, stage.width, 1)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class Backbone(nn.Module):
    """Four feature maps of one grey image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, STEM_WIDTH, 3, 2, 1), nn.ReLU6(inplace=True))
        width, stages = STEM_WIDTH, []
        for stage in STAGES:
            blocks = []
            for i in range(stage.repeats):
                blocks.append(InvertedBottleneck(width, stage, stage.stride if i == 0 else 1))
                width = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def freeze(self, stages: int) -> None:
        """Keep the stem and the first `stages` stages as they are: no gradient is computed for them."""
        for part in (self.stem, *self.stages[:stages]):
            part.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 1, S, S) in [0, 1] to maps of `OUTPUT_WIDTHS` channels and strides 8, 16, 16, 32."""
        x = self.stem(image * 2 - 1)
        found = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in OUTPUT_STAGES:
                found.append(x)
        return tuple(found)


def backbone_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the published ImageNet weights of EfficientNet-Lite0 under this module's names.

    Its batch normalisation is folded into the convolutions, and the first filters are summed over colour, which is
    what they answer to a grey image. The classifier is left out. Raises `KeyError` where it is not that network.
    """
    state = _folded(published, "_conv_stem", "_bn0", "stem.0")
    state["stem.0.weight"] = state["stem.0.weight"].sum(dim=1, keepdim=True)
    number = 0
    for s, stage in enumerate(STAGES):
        for i in range(stage.repeats):
            parts = [("_expand_conv", "_bn0")] if stage.expansion != 1 else []
            parts += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            for p, (conv, norm) in enumerate(parts):
                theirs = f"_blocks.{number}."
                state |= _folded(published, theirs + conv, theirs + norm, f"stages.{s}.{i}.layers.{2 * p}")
            number += 1
    return state


def _folded(source: Mapping[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    """Return weight and bias of convolution and normalisation as one."""
    mean, variance, gain, bias = (source[f"{norm}.{f}"] for f in ("running_mean", "running_var", "weight", "bias"))
    factor = gain / (variance + _BATCH_NORM_EPS).sqrt()
    return {
        f"{name}.weight": source[f"{conv}.weight"] * factor[:, None, None, None],
        f"{name}.bias": bias - mean * factor,
    }
