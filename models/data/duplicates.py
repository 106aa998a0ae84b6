"""Near duplicates across splits: films that show the same picture, found by a perceptual hash, then compared.

The hash is the difference hash (dHash) of 16 x 16 comparisons: 256 bits. The usual 64 bits do not tell chest
radiographs apart, and the packages that offer more bring SciPy and PyWavelets along for what are five lines here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.data.films import Film, Progress
from models.data.pixels import small_picture

Hash = npt.NDArray[np.uint64]
"""(4,): 256 bits."""

MAX_BITS = 16
"""Films whose hashes differ in more bits are not compared. Copies differ in 5 at most, other films rarely in 16."""
MIN_CORRELATION = 0.98
"""Near duplicates correlate more than this at 64 x 64 pixels."""

_SIDE = 16
_COMPARED = 64
_DECODED = 128
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two films of different splits that show the same picture; `bits` of their hashes differ."""

    first: Film
    second: Film
    bits: int
    correlation: float


def perceptual_hash(film: Film) -> Hash:
    """Return 256 bits: whether each of 16 x 16 cells is darker than the next one in its row. Raises `DataError`."""
    cells = _cells(small_picture(film, _DECODED), _SIDE + 1, _SIDE)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).view(np.uint64)


class DuplicateFinder:
    """Takes films one by one and keeps 32 bytes and the names of each."""

    def __init__(self) -> None:
        self._films: list[Film] = []
        self._hashes: list[Hash] = []

    def add(self, film: Film) -> None:
        """Hash one film. Raises `DataError` where it cannot be read."""
        self._hashes.append(perceptual_hash(film))
        self._films.append(replace(film, boxes={}, origins={}, findings={}))

    def across_splits(self, progress: Progress | None = None) -> list[NearDuplicate]:
        """Return the near duplicates between films of different splits. Raises `DataError`."""
        found = []
        for first, second, bits in self._alike(progress):
            correlation = _correlation(self._films[first], self._films[second])
            if correlation > MIN_CORRELATION:
                found.append(NearDuplicate(self._films[first], self._films[second], bits, correlation))
        return found

    def _alike(self, progress: Progress | None) -> Iterator[tuple[int, int, int]]:
        """Yield (place, place, bits) of films of two splits whose hashes differ in few bits."""
        if not self._films:
            return
        hashes = np.stack(self._hashes)  # (N, 4)
        splits = np.unique([f.split for f in self._films], return_inverse=True)[1]  # (N,)
        for start in range(0, len(hashes), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            later = np.arange(start, len(hashes))
            bits = np.zeros((len(hashes[part]), len(later)), dtype=np.uint16)
            for word in range(hashes.shape[1]):
                bits += np.bitwise_count(hashes[part, None, word] ^ hashes[None, start:, word])
            other_split = splits[part, None] != splits[None, start:]
            alike = (bits <= MAX_BITS) & other_split & (later[None] > later[: len(bits), None])
            for row, column in np.argwhere(alike):
                yield start + int(row), start + int(column), int(bits[row, column])
            if progress:
                progress(min(start + _AT_ONCE, len(hashes)), len(hashes))


def near_duplicates_across_splits(films: Iterable[Film], progress: Progress | None = None) -> list[NearDuplicate]:
    """Return the films of different splits that show the same picture. Raises `DataError` where one cannot be read."""
    finder = DuplicateFinder()
    for film in films:
        finder.add(film)
    return finder.across_splits(progress)


def _correlation(first: Film, second: Film) -> float:
    """Return Pearson's r of two films at 64 x 64 pixels; 1 of two uniform ones."""
    a, b = (_standardised(small_picture(film, _DECODED)) for film in (first, second))
    return float((a * b).mean()) if a.any() or b.any() else 1.0


def _standardised(picture: Image.Image) -> npt.NDArray[np.float64]:
    cells = _cells(picture, _COMPARED, _COMPARED)
    spread = float(cells.std())
    return (cells - cells.mean()) / spread if spread else np.zeros_like(cells)


def _cells(picture: Image.Image, width: int, height: int) -> npt.NDArray[np.float64]:
    """Return (height, width) means of equal cells of `picture`."""
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.float64)
