"""SOP classes, roles, transfer syntaxes and AE titles, from what the node accepts and what our requests propose."""

from collections.abc import Iterable

from pydicom.uid import UID

from dicom_node.contexts import SERVICE_SYNTAXES, STORAGE_SYNTAXES, named_storage_classes, service_contexts
from regionmir.admin.conformance.tables import code_list, markdown_table
from regionmir.core.anatomy import ALL_REGIONS_AE, anatomies
from regionmir.core.settings import Settings
from regionmir.scu.proposals import proposals

_STORAGE_ROW = ("every Storage SOP Class of patients, standard (Annex A), private or newer", "")


def overview() -> str:
    """Return which service we are the SCU, and the SCP, of."""
    as_scu = {one.sop_class_uid for one in proposals() if "SCU" in one.roles}
    uids = [str(context.abstract_syntax) for context in service_contexts()]
    rows = [(_name(uid), "yes" if uid in as_scu else "no", "yes") for uid in uids]
    return markdown_table(("SOP class", "SCU", "SCP"), [*rows, (_STORAGE_ROW[0], "yes", "yes")])


def accepted_classes() -> str:
    """Return the SOP classes that the node accepts as acceptor, with the roles that a requestor may take."""
    rows = []
    for context in service_contexts():
        roles = "SCU, SCP" if context.scp_role else "SCU"
        rows.append((_name(str(context.abstract_syntax)), f"`{context.abstract_syntax}`", "service", roles))
    return markdown_table(
        ("SOP class", "UID", "transfer syntaxes", "role of the requestor"),
        [*rows, (*_STORAGE_ROW, "storage", "SCU; SCP for C-GET")],
    )


def proposed_classes() -> str:
    """Return what we propose as requestor; SOP classes that are proposed alike share a line."""
    alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for one in proposals():
        alike.setdefault((one.activity, one.syntaxes, one.roles), []).append(one.sop_class_uid)
    rows = [
        (activity, _names(uids), code_list(uids), _names(syntaxes), ", ".join(roles))
        for (activity, syntaxes, roles), uids in alike.items()
    ]
    rows.append(("C-STORE", "of each instance", "", "as stored; else Explicit, Implicit VR Little Endian", "SCU"))
    return markdown_table(("activity", "SOP classes", "UIDs", "transfer syntaxes", "our role"), rows)


def service_syntaxes() -> str:
    """Return the transfer syntaxes of all services but storage."""
    return _syntaxes(SERVICE_SYNTAXES)


def storage_syntaxes() -> str:
    """Return the transfer syntaxes of storage, best first."""
    return _syntaxes(STORAGE_SYNTAXES)


def storage_classes() -> str:
    """Return the storage SOP classes that have a name."""
    return markdown_table(("SOP class", "UID"), [(_name(uid), f"`{uid}`") for uid in named_storage_classes()])


def called_titles() -> str:
    """Return the AE titles that the node answers to."""
    own = Settings.model_fields["ae_title"].default
    rows = [
        (f"`{own}`", "", "its own, as set"),
        (f"`{ALL_REGIONS_AE}`", "", "every region, named in the query"),
        *((f"`{one.ae_title}`", one.short, one.name) for one in anatomies()),
    ]
    return markdown_table(("AE title", "short form", "for"), rows)


def _syntaxes(uids: Iterable[str]) -> str:
    rows = [(str(n), _name(uid), f"`{uid}`") for n, uid in enumerate(uids, start=1)]
    return markdown_table(("", "transfer syntax", "UID"), rows)


def _names(uids: Iterable[str]) -> str:
    return "; ".join(map(_name, uids))


def _name(uid: str) -> str:
    return UID(uid).name.replace("Information Model - ", "")
