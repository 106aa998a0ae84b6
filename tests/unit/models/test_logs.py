"""Event files as TensorBoard reads them."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.train.logs import LOGS, event_log
from models.train.loop import Progress

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def scalars(file: Path) -> Iterator[tuple[int, str, float]]:
    """Yield step, tag and value of an event file: records of length, its checksum, an event, its checksum."""
    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            yield event.step, value.tag, value.simple_value
        content = content[16 + length :]


def test_losses_and_validation_are_read_back(tmp_path: Path) -> None:
    with event_log(tmp_path) as note:
        note(Progress(0.5, 3, 7.0, {"box": 1.5, "frontal": 0.25}, 2.0, 1e-3))
        note(Progress(1.0, 6, 9.0, {"box": 1.0}, 1.5, 5e-4, {"iou": 0.75}))
    (file,) = (tmp_path / LOGS).iterdir()
    found = {(step, tag): value for step, tag, value in scalars(file)}
    assert found[3, "loss/box"] == 1.5
    assert found[3, "loss/frontal"] == 0.25
    assert found[3, "loss"] == 2.0
    assert found[6, "validation/iou"] == 0.75
    assert found[6, "learning_rate"] == pytest.approx(5e-4)
    assert (3, "validation/iou") not in found
