"""DICOM peers for tests: a receiver that keeps the bytes it gets, and dcmtk's programs on free ports."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import cast

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from regionmir.core.identifiers import AETitle
from regionmir.scu.peer import PeerAddress
from tests.support.ports import free_port

AE_TITLE = "RECEIVER"

NOT_SUPPORTED = "1.2.840.10008.1.20.1"
"""Storage Commitment, which the receiver does not know."""


@dataclass
class Received:
    """One instance that a receiver got."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes
    originator: tuple[str | None, int | None]


@dataclass
class Receiver:
    """A storage SCP on a free port. `status` answers each C-STORE; it may abort through the event's association."""

    syntaxes: Sequence[str]
    sop_classes: Sequence[str]
    status: Callable[[Event, int], int] = lambda event, number: 0x0000
    received: list[Received] = field(default_factory=list)
    associations: int = 0
    port: int = 0

    @property
    def peer(self) -> PeerAddress:
        return PeerAddress(AETitle(AE_TITLE), "127.0.0.1", self.port)

    def by_uid(self) -> dict[str, Received]:
        return {one.sop_instance_uid: one for one in self.received}

    def store(self, event: Event) -> int:
        request = cast(C_STORE, event.request)
        status = self.status(event, len(self.received) + 1)
        if status == 0x0000:
            self.received.append(
                Received(
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    cast(BytesIO, request.DataSet).getvalue(),
                    (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID),
                )
            )
        return status

    def accepted(self, event: Event) -> None:
        self.associations += 1

    def requested(self, event: Event) -> None:
        """Leave only what this receiver takes: pynetdicom's switch for every SOP class counts for all of a process."""
        request = event.assoc.requestor.primitive
        assert request is not None
        for context in request.presentation_context_definition_list:
            taken: list[str | bytes | UID] = [uid for uid in context.transfer_syntax if uid in self.syntaxes]
            known = not self.sop_classes or context.abstract_syntax in self.sop_classes
            if taken and known:
                context.transfer_syntax = taken
            elif context.abstract_syntax != Verification:
                context.abstract_syntax = NOT_SUPPORTED


@contextmanager
def receiver(
    *,
    syntaxes: Sequence[str] = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
    sop_classes: Sequence[str] = (),
    status: Callable[[Event, int], int] = lambda event, number: 0x0000,
) -> Iterator[Receiver]:
    """Run a receiver that takes these transfer syntaxes, for every SOP class unless some are named."""
    made = Receiver(syntaxes, sop_classes, status)
    ae = AE(AE_TITLE)
    ae.add_supported_context(Verification)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_REQUESTED, made.requested),
        (evt.EVT_ACCEPTED, made.accepted),
        (evt.EVT_C_STORE, made.store),
    ]
    unrestricted, _config.UNRESTRICTED_STORAGE_SERVICE = _config.UNRESTRICTED_STORAGE_SERVICE, True
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        made.port = int(server.server_address[1])
        yield made
    finally:
        server.shutdown()
        _config.UNRESTRICTED_STORAGE_SERVICE = unrestricted


def dataset_bytes(part10: bytes) -> bytes:
    """Return what follows the meta group of a Part 10 file."""
    assert part10[128:132] == b"DICM"
    assert part10[132:136] == b"\x02\x00\x00\x00", "a group length comes first"
    return part10[144 + int.from_bytes(part10[140:144], "little") :]


@contextmanager
def storescp(
    dcmtk: Path, folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[PeerAddress]:
    """Run dcmtk's storescp, which writes data sets as they came into `folder`."""
    port = free_port()
    command = [str(dcmtk / "storescp"), "-aet", AE_TITLE, "+B", "-od", str(folder), *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        wait_for_port(port)
        yield PeerAddress(AETitle(AE_TITLE), "127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int, deadline_s: float = 10.0) -> None:
    """Return once something listens on the port of this machine."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
