"""The end of an association that brought instances: for peers that send whole studies, their studies are complete."""

import structlog
from pynetdicom.events import Event

from db import completeness, peers
from dicom_node.node import Node
from regionmir.core.errors import origin

log = structlog.get_logger(__name__)


def note_study(event: Event, study_instance_uid: str) -> None:
    """Remember that this association brought an instance of a study."""
    studies: set[str] = event.assoc.__dict__.setdefault("studies", set())
    studies.add(study_instance_uid)


def handle_released(event: Event, node: Node) -> None:
    """Note which studies came over an association that was released in order (an abort completes nothing)."""
    studies = event.assoc.__dict__.get("studies")
    if not studies:
        return
    try:
        with node.database.session() as session:
            peer = peers.get(session, node.caller_of(event).ae_title)
            if peer is not None and peer.complete_on_release:
                completeness.released(session, studies)
    except Exception as error:  # the quiet time will tell
        log.warning("release not noted", error=type(error).__name__, at=origin(error))
