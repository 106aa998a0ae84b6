"""EfficientNet-Lite0 as a feature pyramid: three maps of strides 8, 16 and 32 from one grey image.

Tan and Le, "EfficientNet" (2019), in its "lite" form: inverted bottlenecks, ReLU6, no squeeze-and-excitation.
Shape letters: B images, S side of the image in pixels, C channels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
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
    Stage(3, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
OUTPUT_STAGES = (2, 4, 6)
OUTPUT_WIDTHS = tuple(STAGES[i].width for i in OUTPUT_STAGES)
_BATCH_NORM_EPS = 1e-3


def _conv_bn(width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=_BATCH_NORM_EPS, momentum=0.03),
    ]


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel by itself, project; added to its input where the shapes agree."""

    def __init__(self, width_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = width_in * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion != 1:
            layers += [*_conv_bn(width_in, inner, 1), nn.ReLU6(inplace=True)]
        layers += [*_conv_bn(inner, inner, stage.kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        layers += _conv_bn(inner, stage.width, 1)
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class Backbone(nn.Module):
    """Three feature maps of one grey image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn(1, STEM_WIDTH, 3, 2), nn.ReLU6(inplace=True))
        width, stages = STEM_WIDTH, []
        for stage in STAGES:
            blocks = []
            for i in range(stage.repeats):
                blocks.append(InvertedBottleneck(width, stage, stage.stride if i == 0 else 1))
                width = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 1, S, S) in [0, 1] to (B, 40, S/8, S/8), (B, 112, S/16, S/16), (B, 320, S/32, S/32)."""
        x = self.stem(image * 2 - 1)
        found = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in OUTPUT_STAGES:
                found.append(x)
        return found[0], found[1], found[2]


def backbone_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the published ImageNet weights of EfficientNet-Lite0 under this module's names.

    The first filters are summed over colour, which is what they answer to a grey image. The classifier is left out.
    Raises `KeyError` where `published` is not that network.
    """
    state = _renamed(published, "_conv_stem", "_bn0", "stem.0", "stem.1")
    state["stem.0.weight"] = state["stem.0.weight"].sum(dim=1, keepdim=True)
    number = 0
    for s, stage in enumerate(STAGES):
        for i in range(stage.repeats):
            ours, theirs = f"stages.{s}.{i}.layers", f"_blocks.{number}"
            parts = [("_expand_conv", "_bn0")] if stage.expansion != 1 else []
            parts += [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            for p, (conv, norm) in enumerate(parts):
                names = f"{theirs}.{conv}", f"{theirs}.{norm}", f"{ours}.{3 * p}", f"{ours}.{3 * p + 1}"
                state |= _renamed(published, *names)
            number += 1
    return state


def _renamed(source: Mapping[str, Tensor], conv: str, norm: str, to_conv: str, to_norm: str) -> dict[str, Tensor]:
    fields = ("weight", "bias", "running_mean", "running_var")
    found = {f"{to_conv}.weight": source[f"{conv}.weight"]}
    found |= {f"{to_norm}.{f}": source[f"{norm}.{f}"] for f in fields}
    found[f"{to_norm}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    return found
