"""The whole statement: prose from `statement.md`, in which `${name}` stands for what the code's own tables say."""

from importlib.resources import files
from string import Template

from regionmir.admin.conformance.bad_input import bad_input_table
from regionmir.admin.conformance.keys import disclosure_table, key_table
from regionmir.admin.conformance.rejections import rejection_titles
from regionmir.admin.conformance.services import (
    accepted_classes,
    called_titles,
    overview,
    proposed_classes,
    service_syntaxes,
    storage_classes,
    storage_syntaxes,
)
from regionmir.admin.conformance.statuses import (
    failure_reasons,
    refusals_of_associations,
    similarity_statuses,
    statuses,
)
from regionmir.admin.conformance.tables import code_list, markdown_table
from regionmir.core.charset import known_character_sets
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from regionmir.core.settings import Settings
from regionmir.query.annotations import MAX_REGIONS
from regionmir.query.keys import BLOCK_CREATOR
from regionmir.query.limits import FailedAnchors
from regionmir.query.request import MAX_K
from regionmir.scu.association import MAX_PDU_BYTES as REQUESTED_PDU_BYTES
from regionmir.scu.peer import DEFAULT_TIMEOUTS

SETTINGS_OF_INTEREST = (
    "ae_title", "dicom_host", "dicom_port", "max_associations", "max_associations_per_peer", "network_timeout_s",
    "acse_timeout_s", "message_timeout_s", "max_instance_bytes", "find_cap", "default_k", "last_within_s", "quiet_s",
    "rejection_rules",
)  # fmt: skip
"""Settings that change what a peer sees."""


def statement() -> str:
    """Return the conformance statement as Markdown."""
    text = files("regionmir.admin.conformance").joinpath("statement.md").read_text(encoding="utf-8")
    return Template(text).substitute(_values(), **_tables())


def _values() -> dict[str, str]:
    from dicom_node.arrival import MAX_HELD_BYTES
    from dicom_node.association import MAX_PDU_BYTES

    brake = FailedAnchors()
    return {
        "class_uid": IMPLEMENTATION_CLASS_UID,
        "version_name": IMPLEMENTATION_VERSION_NAME,
        "pdu_kib": str(MAX_PDU_BYTES >> 10),
        "held_mib": str(MAX_HELD_BYTES >> 20),
        "requested_pdu_kib": str(REQUESTED_PDU_BYTES >> 10),
        "connect_s": f"{DEFAULT_TIMEOUTS.connect_s:.0f}",
        "max_k": str(MAX_K),
        "max_regions": str(MAX_REGIONS),
        "guesses": f"{brake.most} in {brake.window_s:.0f} s",
        "block_creator": BLOCK_CREATOR,
    }


def _tables() -> dict[str, str]:
    from dicom_node import status
    from regionmir.archive.status import STORE

    return {
        "overview": overview(),
        "accepted_classes": accepted_classes(),
        "proposed_classes": proposed_classes(),
        "service_syntaxes": service_syntaxes(),
        "storage_syntaxes": storage_syntaxes(),
        "storage_classes": storage_classes(),
        "called_titles": called_titles(),
        "refusals": refusals_of_associations(),
        "echo_statuses": statuses(status.ECHO),
        "store_statuses": statuses(STORE),
        "rejection_titles": rejection_titles(),
        "find_statuses": statuses(status.FIND),
        "similar_statuses": similarity_statuses(),
        "retrieve_statuses": statuses(status.RETRIEVE),
        "commitment_statuses": statuses(status.COMMITMENT),
        "failure_reasons": failure_reasons(),
        "keys": key_table(),
        "disclosure": disclosure_table(),
        "character_sets": code_list(known_character_sets()),
        "settings": _settings(),
        "bad_input": bad_input_table(),
    }


def _settings() -> str:
    fields = {name: Settings.model_fields[name] for name in SETTINGS_OF_INTEREST}
    rows = [(f"`REGIONMIR_{name.upper()}`", f"{one.default}", one.description or "") for name, one in fields.items()]
    return markdown_table(("setting", "default", "meaning"), rows)
