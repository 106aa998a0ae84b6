"""What a C-GET or C-MOVE sends: stored instances as they are, or their pseudonymous copies.

The lower disclosure of caller and destination decides which. A copy is made when its turn comes, on the thread of the
association, and is kept nowhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import UID

from db.retrieve import StoredInstance
from dicom_node.boxes import RegionBoxes
from regionmir.archive.copies import ONLY_FILMS, copy_of
from regionmir.archive.correction import corrected_for
from regionmir.archive.errors import NotAuthorized
from regionmir.core.identifiers import Uid
from regionmir.core.records import CopyIdentity, Disclosure, PatientValues
from regionmir.deid.copies import in_accepted_syntax, may_be_copied
from regionmir.pixels.guarded import transcoded_to_any
from regionmir.scu.sending import Outgoing

if TYPE_CHECKING:
    from dicom_node.node import Node

NOT_FOR_COPIES = "not registered to accept pseudonymous copies"
"""Error Comment where the one who would get pseudonymous copies is not marked for that."""

NOT_KEPT = "no longer kept here; retrieve it from its PACS"
"""Error Comment where an object was reduced or removed by the rules, and cannot be fetched."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """The instances to send, and those that may not leave or are no longer kept; `told` are their UIDs as the caller
    knows them."""

    outgoing: Sequence[Outgoing]
    kept_back: Sequence[str]
    told: dict[str, str]
    """From the SOP Instance UID that is sent to the one that the caller knows."""
    copies: dict[str, CopyIdentity]
    """Of each copy, by the SOP Instance UID that it is sent under."""
    stored: dict[str, StoredInstance]
    """What leaves, by the SOP Instance UID that it is sent under."""
    node: "Node"
    corrected: Mapping[str, PatientValues] = field(default_factory=dict)
    """Whose those instances are that do not leave as they are stored, by their SOP Instance UIDs."""
    boxes: Mapping[str, RegionBoxes] = field(default_factory=dict)
    """What draws the regions of a film, by the SOP Instance UID that it is sent under."""
    why: str = ""
    """Why those that are kept back are."""

    def __len__(self) -> int:
        return len(self.outgoing) + len(self.kept_back)

    def with_boxes(self, boxes: Sequence[RegionBoxes]) -> "Shipment":
        """Return the same with these presentation states after the films."""
        return replace(
            self,
            outgoing=[*self.outgoing, *(one.outgoing(self.node) for one in boxes)],
            told=self.told | {one.sent_uid: one.told_uid for one in boxes},
            boxes={one.sent_uid: one for one in boxes},
        )

    def convert(self, outgoing: Outgoing, accepted: Collection[str]) -> Dataset:
        """Return the instance, or the copy of it, in one of the accepted transfer syntaxes."""
        if not outgoing.copied:
            return transcoded_to_any(outgoing.path, accepted)
        if outgoing.sop_instance_uid in self.corrected:
            values, syntax = self.corrected[outgoing.sop_instance_uid], UID(outgoing.transfer_syntax_uid)
            return corrected_for(outgoing.path, values, self.node.settings.ae_title, syntax, accepted)
        if outgoing.sop_instance_uid in self.boxes:
            return self.boxes[outgoing.sop_instance_uid].made(self.node, accepted)
        copy = copy_of(self.node, outgoing.path, self.copies[outgoing.sop_instance_uid])
        return in_accepted_syntax(copy, UID(outgoing.transfer_syntax_uid), accepted)


def shipment(
    node: "Node",
    found: Sequence[StoredInstance],
    identities: Mapping[int, CopyIdentity],
    *,
    caller: Disclosure,
    disclosure: Disclosure,
) -> Shipment:
    """Return what is sent of the instances found. `disclosure` is the lower of caller's and destination's.

    `identities` holds, for the pseudonymous one, every instance by key.

    Raises `NotAuthorized` where some were found and none of them may leave as a pseudonymous copy.
    """
    if disclosure is Disclosure.IDENTIFIED:
        whole: dict[str, StoredInstance] = {one.sop_instance_uid: one for one in found if one.whole}
        gone = [one.sop_instance_uid for one in found if not one.whole]
        corrected: dict[str, PatientValues] = {uid: one.corrected for uid, one in whole.items() if one.corrected}
        stored = [
            _outgoing(node, one, one.sop_instance_uid, copied=one.corrected is not None) for one in whole.values()
        ]
        return Shipment(stored, gone, {uid: uid for uid in whole}, {}, whole, node, corrected, why=NOT_KEPT)
    allowed = [one for one in found if may_be_copied(one.sop_class_uid, one.burned_in_annotation)]
    may_leave = [one for one in allowed if one.whole]
    if found and not allowed:
        raise NotAuthorized(ONLY_FILMS)
    known = {
        one.pk: one.sop_instance_uid if caller is Disclosure.IDENTIFIED else identities[one.pk].sop_instance_uid
        for one in found
    }
    leaving = {one.pk for one in may_leave}
    return Shipment(
        [_outgoing(node, one, identities[one.pk].sop_instance_uid, copied=True) for one in may_leave],
        [known[one.pk] for one in found if one.pk not in leaving],
        {identities[one.pk].sop_instance_uid: known[one.pk] for one in may_leave},
        {identities[one.pk].sop_instance_uid: identities[one.pk] for one in may_leave},
        {identities[one.pk].sop_instance_uid: one for one in may_leave},
        node,
        why=ONLY_FILMS if len(allowed) < len(found) else NOT_KEPT,
    )


def _outgoing(node: "Node", one: StoredInstance, sent_as: Uid, *, copied: bool = False) -> Outgoing:
    place = partial(node.store.path, one.storage_key)
    return Outgoing(place, one.sop_class_uid, sent_as, one.transfer_syntax_uid, copied=copied)
