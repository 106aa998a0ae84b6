"""The pseudonyms of UIDs that an instance refers to, for its copy and for what is made from it."""

from typing import TYPE_CHECKING

from db import pseudonyms
from regionmir.core.identifiers import Uid
from regionmir.deid.identity import OTHER

if TYPE_CHECKING:
    from dicom_node.node import Node


def pseudonym_of(node: "Node", kind: str, uid: Uid) -> Uid:
    """Return the pseudonym of a UID that an instance refers to: the table's, or the one that it would get there."""
    if kind == OTHER:
        return node.pseudonymizer.uid(kind, uid)
    with node.database.session() as session:
        return pseudonyms.uid_for(session, kind, uid, node.pseudonymizer)
