"""Rectangles on the stored pixel matrix."""

import math
from dataclasses import dataclass

from regionmir.core.errors import InvalidBox


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open rectangle on the stored pixel matrix: x right, y down, in pixels. Raises `InvalidBox` if empty."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        finite = math.isfinite
        if not (finite(self.x0) and finite(self.y0) and finite(self.x1) and finite(self.y1)):
            raise InvalidBox(f"box is not finite: {self.as_tuple()}")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise InvalidBox(f"box has no area: {self.as_tuple()}")

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return (x0, y0, x1, y1)."""
        return (self.x0, self.y0, self.x1, self.y1)

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    def iou(self, other: "Box") -> float:
        """Return intersection over union, 0..1."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        if w <= 0 or h <= 0:
            return 0.0
        shared = w * h
        return shared / (self.area + other.area - shared)

    def clipped(self, width: float, height: float) -> "Box":
        """Return the part inside an image of `width` x `height` pixels. Raises `InvalidBox` if nothing is."""
        return Box(max(0.0, self.x0), max(0.0, self.y0), min(width, self.x1), min(height, self.y1))

    def widened(self, fraction: float) -> "Box":
        """Return the box grown by `fraction` of its size, half on each side."""
        dx, dy = self.width * fraction / 2, self.height * fraction / 2
        return Box(self.x0 - dx, self.y0 - dy, self.x1 + dx, self.y1 + dy)
