"""Every line of the conformance statement against a running node: SOP classes, roles, syntaxes, statuses, keys."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF

from db.find import Level, level_of, listed_tags
from dicom_node import status as statuses
from dicom_node.access import CALLED_AE_UNKNOWN, CALLING_AE_UNKNOWN, TOO_MANY_ASSOCIATIONS
from dicom_node.contexts import SERVICE_SYNTAXES, STORAGE_SYNTAXES, named_storage_classes, service_contexts
from regionmir.admin.conformance.keys import matching_of
from regionmir.archive.status import SIMILAR, STORE, Line, Table
from regionmir.core.anatomy import ALL_REGIONS_AE, anatomies
from regionmir.core.charset import known_character_sets
from regionmir.core.errors import PeerRefused, PeerUnavailable, QueryRefused
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.records import Disclosure
from regionmir.scu.association import association as requested
from regionmir.scu.association import receiver_roles
from regionmir.scu.commitment import (
    PUSH_MODEL,
    CommitmentReport,
    CommitmentRequest,
    Reference,
    ask_on,
    new_transaction_uid,
    send_report,
)
from regionmir.scu.echo import echo
from regionmir.scu.find import find as ask_peer
from regionmir.scu.get import FILM_CLASSES, GET_MODELS, get, storage_contexts
from regionmir.scu.move import move
from regionmir.scu.outgoing import DatasetSender
from regionmir.scu.peer import PeerAddress
from regionmir.scu.proposals import proposals
from regionmir.scu.status import Status, read_status
from tests.support.dicom import CR, EXPLICIT, associate, radiograph, store
from tests.support.find import KNOWN, PATIENT_ROOT, FindNode, ask, association, find, find_node, keys
from tests.support.peers import AE_TITLE, receiver
from tests.support.postgres import TestDatabases
from tests.support.records import element
from tests.support.seed import film, seed

TABLES: dict[str, Table] = {
    "COMMITMENT": statuses.COMMITMENT,
    "ECHO": statuses.ECHO,
    "FIND": statuses.FIND,
    "RETRIEVE": statuses.RETRIEVE,
    "STORE": STORE,
}
QUERY_CODES = Path(__file__).parents[3] / "regionmir" / "query"
FULL = {
    **{tag: element("LO", f"Value {tag}") for tag in ("00100021", "00081030", "00200010", "0008103E")},
    "00100030": element("DA", "19600102"),
    "00100040": element("CS", "F"),
    "00080020": element("DA", "20200304"),
    "00080030": element("TM", "101112"),
    "00080050": element("SH", "ACC1"),
    "00080090": element("PN", {"Alphabetic": "Referrer^Real"}),
    "00080060": element("CS", "CR"),
    "00180015": element("CS", "CHEST"),
    "00200011": element("IS", 7),
    "00200013": element("IS", 9),
    "00280010": element("US", 64),
    "00280011": element("US", 32),
}
"""The attributes of a film that has a value for every key of the statement."""


@pytest.fixture(scope="module")
def node(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FindNode]:
    with find_node(databases, tmp_path_factory.mktemp("node"), find_cap=3) as running:
        running.register(KNOWN, can_store=True, can_retrieve=True, disclosure=Disclosure.IDENTIFIED)
        seed(
            running.database,
            [film(1, issuer="Value 00100021", **{f"t{tag}": value for tag, value in FULL.items()}), film(2)],
        )
        yield running


def peer(node: FindNode) -> PeerAddress:
    return PeerAddress(AETitle("REGIONMIR"), "127.0.0.1", node.port)


def accepted(node: FindNode, contexts: dict[str, list[str]]) -> dict[str, str]:
    """Propose contexts, 128 at a time, and return the transfer syntax of each that is accepted."""
    found = {}
    names = list(contexts)
    for at in range(0, len(names), 128):
        assoc = associate(node.port, {uid: contexts[uid] for uid in names[at : at + 128]})
        found |= {str(context.abstract_syntax): str(context.transfer_syntax[0]) for context in assoc.accepted_contexts}
        assoc.release()
    return found


def test_every_service_and_storage_class_of_the_statement_is_accepted_and_no_other(node: FindNode) -> None:
    every = [uid for uid, (_, kind, *_) in UID_dictionary.items() if "SOP Class" in kind]
    claimed = {*named_storage_classes(), *(str(context.abstract_syntax) for context in service_contexts())}
    private = ["1.2.826.0.1.3680043.9.9999.1", "1.2.840.10008.5.1.4.1.1.999.9"]
    assert claimed <= set(every)
    assert len(every) > len(claimed) + 50
    assert set(accepted(node, {uid: [EXPLICIT] for uid in [*every, *private]})) == {*claimed, *private}


def test_every_storage_syntax_of_the_statement_is_accepted_and_no_other(node: FindNode) -> None:
    offered = {f"1.2.3.{n}": [uid] for n, uid in enumerate([*STORAGE_SYNTAXES, "1.2.840.10008.1.2.999", "1.2.3"])}
    assert list(accepted(node, offered).values()) == list(STORAGE_SYNTAXES)


def test_storage_takes_the_first_syntax_of_the_statement_that_is_offered(node: FindNode) -> None:
    for n in range(0, len(STORAGE_SYNTAXES), 8):
        offered = list(STORAGE_SYNTAXES[n:])[::-1]
        assert accepted(node, {CR: offered}) == {CR: STORAGE_SYNTAXES[n]}


def test_services_take_the_syntaxes_of_the_statement_and_no_other(node: FindNode) -> None:
    for context in service_contexts():
        uid = str(context.abstract_syntax)
        assert [accepted(node, {uid: [syntax]}) for syntax in SERVICE_SYNTAXES] == [{uid: s} for s in SERVICE_SYNTAXES]
        assert accepted(node, {uid: [STORAGE_SYNTAXES[1]]}) == {}


def test_the_scp_role_is_given_for_storage_and_commitment_only(node: FindNode) -> None:
    uids = [CR, *(str(context.abstract_syntax) for context in service_contexts())]
    ae = AE("TESTSCU")
    roles = [build_role(uid, scp_role=True) for uid in uids]
    contexts = [build_context(uid, EXPLICIT) for uid in uids]
    assoc = ae.associate("127.0.0.1", node.port, contexts=contexts, ae_title="REGIONMIR", ext_neg=roles)  # type: ignore[arg-type]
    as_scp = {str(context.abstract_syntax) for context in assoc.accepted_contexts if context.as_scp}
    assoc.release()
    assert as_scp == {CR, PUSH_MODEL}


def test_every_title_of_the_statement_answers(node: FindNode) -> None:
    for title in ("REGIONMIR", ALL_REGIONS_AE, *(anatomy.ae_title for anatomy in anatomies())):
        assert associate_and_release(node, title), title
    assoc = associate(node.port, called="RGN_KNEE")
    assert assoc.is_rejected
    refused = assoc.acceptor.primitive
    assert refused is not None
    assert (refused.result, refused.result_source, refused.diagnostic) == numbers(CALLED_AE_UNKNOWN)


def associate_and_release(node: FindNode, title: str) -> bool:
    assoc = associate(node.port, called=title)
    taken = assoc.is_established
    assoc.release()
    return taken


def numbers(refusal: Any) -> tuple[int, int, int]:
    return refusal.result, refusal.source, refusal.diagnostic


def test_unknown_callers_and_those_over_the_limit_are_rejected_as_stated(
    databases: TestDatabases, tmp_path: Path
) -> None:
    with find_node(databases, tmp_path, max_associations=1) as small:
        first, second = associate(small.port), associate(small.port)
        refused = second.acceptor.primitive
        assert refused is not None
        assert (refused.result, refused.result_source, refused.diagnostic) == numbers(TOO_MANY_ASSOCIATIONS)
        first.release()
    with find_node(databases, tmp_path, dicom_host="0.0.0.0") as open_to_all:
        refused = associate(open_to_all.port, calling="STRANGER").acceptor.primitive
        assert refused is not None
        assert (refused.result, refused.result_source, refused.diagnostic) == numbers(CALLING_AE_UNKNOWN)


def test_command_and_data_set_never_share_a_pdu(node: FindNode) -> None:
    kinds: list[set[int]] = []

    def note(event: Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            parts = event.pdu.presentation_data_value_items
            kinds.append({part.presentation_data_value[0] & 0b01 for part in parts})

    with association(node.port, calling=KNOWN, evt_handlers=[(evt.EVT_PDU_RECV, note)]) as assoc:
        assert len(ask(assoc, keys("STUDY")).rows) >= 2
    assert len(kinds) >= 5
    assert all(len(kind) == 1 for kind in kinds)


@contextmanager
def proposals_seen() -> Iterator[tuple[PeerAddress, set[tuple[str, tuple[str, ...], tuple[str, ...]]]]]:
    """Run a peer that notes what is proposed to it: SOP class, transfer syntaxes, the requestor's roles."""
    seen: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()

    def note(event: Event) -> None:
        request = event.assoc.requestor
        assert request.primitive is not None
        for context in request.primitive.presentation_context_definition_list:
            role = request.role_selection.get(context.abstract_syntax)  # type: ignore[arg-type]
            taken = ("SCU",) if role is None or role.scu_role else ("SCP",)
            seen.add((str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)), taken))

    ae = AE("PEER")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)])
    assert server is not None
    try:
        yield PeerAddress(AETitle("PEER"), "127.0.0.1", int(server.server_address[1])), seen
    finally:
        server.shutdown()


def test_what_we_propose_is_what_the_statement_says() -> None:
    identifier = keys("STUDY", StudyInstanceUID="1.2")
    report = CommitmentReport(new_transaction_uid(), (Reference(Uid(CR), Uid("1.2")),))
    with proposals_seen() as (there, seen):
        asked: list[Callable[[], object]] = [lambda: echo(there, "US"), lambda: send_report(there, "US", report)]
        for root in GET_MODELS:
            asked += [
                lambda root=root: ask_peer(there, "US", identifier, root=root),  # type: ignore[misc]
                lambda root=root: move(there, "US", identifier, "US", root=root),  # type: ignore[misc]
                lambda root=root: get(there, "US", identifier, lambda uid, content: 0, root=root),  # type: ignore[misc]
            ]
        asked.append(lambda: DatasetSender(there, "US", reported=lambda report: None).request_commitment(
            CommitmentRequest(report.transaction_uid, report.committed)
        ))  # fmt: skip
        for request in asked:
            with suppress(
                PeerRefused, PeerUnavailable, ValueError
            ):  # the peer takes none of it; what is proposed counts
                request()
    by_class: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for sop_class, syntaxes, role in seen:
        by_class.setdefault((sop_class, role), set()).update(syntaxes)
    claimed: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for one in proposals():
        claimed.setdefault((one.sop_class_uid, one.roles), set()).update(one.syntaxes)
    assert by_class == claimed


def error_lines() -> list[Any]:
    """Return service, error and line of every status that answers an error."""
    return [
        pytest.param(service, kind, line, id=f"{service} {line.status:04X} {kind.__name__}")
        for service, table in TABLES.items()
        for line in table
        for kind in (line.error if isinstance(line.error, tuple) else (line.error,))
        if kind is not None
    ]


FAILING_STEP = {
    "STORE": "dicom_node.store.file_instance",
    "FIND": "dicom_node.find.find",
    "RETRIEVE": "dicom_node.retrieve.find_instances",
    "COMMITMENT": "dicom_node.commitment.commitments.add",
}


@pytest.mark.parametrize(("service", "kind", "line"), error_lines())
def test_every_error_of_the_statement_is_answered_as_it_says(
    node: FindNode, monkeypatch: pytest.MonkeyPatch, service: str, kind: type[Exception], line: Line
) -> None:
    if kind.__name__ == "InvalidCommand":
        pytest.skip("answered before there is a handler: tests/integration/dicom_node/test_store.py")

    def fail(*arguments: Any, **more: Any) -> Any:
        raise kind("what is wrong")

    monkeypatch.setattr(FAILING_STEP[service], fail)
    answer = ASK[service](node)
    assert (answer.code, answer.comment) == (line.status, line.comment or "what is wrong")
    monkeypatch.undo()
    assert ASK[service](node).is_success, "nothing else is harmed"


def asked_echo(node: FindNode) -> Status:
    return echo(peer(node), KNOWN).status


def asked_store(node: FindNode) -> Status:
    assoc = associate(node.port, calling=KNOWN)
    response = store(assoc, radiograph())
    assoc.release()
    return Status(response.status, response.comment)


def asked_find(node: FindNode) -> Status:
    found = find(node.port, "STUDY", calling=KNOWN, StudyInstanceUID="1.2.826.0.1.1")
    return Status(found.status, found.comment)


def asked_get(node: FindNode) -> Status:
    return get(peer(node), KNOWN, keys("STUDY", StudyInstanceUID="9.9.9"), lambda uid, content: 0).status


def asked_commitment(node: FindNode) -> Status:
    node.register("SENDER", can_store=True, host="127.0.0.1", port=104)
    assoc = associate(node.port, {PUSH_MODEL: [EXPLICIT]}, calling="SENDER")
    request = CommitmentRequest(new_transaction_uid(), (Reference(Uid(CR), Uid("1.2")),))
    status = ask_on(assoc, request)
    assoc.release()
    return status


ASK: dict[str, Callable[[FindNode], Status]] = {
    "ECHO": asked_echo,
    "STORE": asked_store,
    "FIND": asked_find,
    "RETRIEVE": asked_get,
    "COMMITMENT": asked_commitment,
}


def echo_without_right(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    node.register("MUTE", can_echo=False)
    return [echo(peer(node), "MUTE").status.code]


def find_many(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    fill(node)
    found = find(node.port, "STUDY", calling=KNOWN)
    return [*found.pending, found.status]


def find_with_ignored_key(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    found = find(node.port, "STUDY", calling=KNOWN, StudyInstanceUID="1.2.826.0.1.1", SOPInstanceUID="1.2")
    return [*found.pending, found.status]


def find_cancelled(node: FindNode, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    fill(node)
    cancelled, answering = threading.Event(), __import__("dicom_node.find", fromlist=["answer"]).answer

    def slow(request: Any, *arguments: Any, **more: Any) -> Any:
        cancelled.wait(5)
        time.sleep(2)  # the request to cancel is under way
        return answering(request, *arguments, **more)

    monkeypatch.setattr("dicom_node.find.answer", slow)
    with association(node.port, calling=KNOWN) as assoc:
        answers = assoc.send_c_find(keys("STUDY"), "1.2.840.10008.5.1.4.1.2.2.1", msg_id=7)
        threading.Timer(0.1, lambda: (assoc.send_c_cancel(7, query_model=PATIENT_ROOT), cancelled.set())).start()
        return [status.Status for status, _ in answers]


def fill(node: FindNode) -> None:
    """Have more studies than one query answers."""
    seed(node.database, [film(n) for n in range(50, 54)])


def stored_study(node: FindNode, count: int = 2, **values: Any) -> Dataset:
    """Store films of one study and return its Identifier."""
    study = generate_uid()
    assoc = associate(node.port, calling=KNOWN)
    for _ in range(count):
        assert store(assoc, radiograph(StudyInstanceUID=study, **values)).status == 0
    assoc.release()
    return keys("STUDY", StudyInstanceUID=study)


def got(node: FindNode, answers: list[int]) -> list[int]:
    """Get a study of as many films as there are answers to its C-STOREs; return all statuses."""
    wanted, left = stored_study(node, len(answers)), list(answers)
    contexts = [build_context(GET_MODELS["study"], EXPLICIT), *storage_contexts(FILM_CLASSES, [EXPLICIT])]
    handlers = [(evt.EVT_C_STORE, lambda event: left.pop(0))]
    with requested(peer(node), KNOWN, contexts, roles=receiver_roles(FILM_CLASSES), handlers=handlers) as opened:
        found = [read_status(answer) for answer, _ in opened.send_c_get(wanted, GET_MODELS["study"])]
    return [status.code for status in found if status is not None]


def get_cancelled(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    wanted = stored_study(node, 6)
    contexts = [build_context(GET_MODELS["study"], EXPLICIT), *storage_contexts(FILM_CLASSES, [EXPLICIT])]

    def slow(event: Event) -> int:
        time.sleep(0.1)
        return 0x0000

    roles, handlers = receiver_roles(FILM_CLASSES), [(evt.EVT_C_STORE, slow)]
    with requested(peer(node), KNOWN, contexts, roles=roles, handlers=handlers) as opened:
        answers = opened.send_c_get(wanted, GET_MODELS["study"], msg_id=9)
        codes = [next(answers)[0].Status]
        opened.send_c_cancel(9, query_model=GET_MODELS["study"])
        return [*codes, *(answer.Status for answer, _ in answers)]


def too_many_instances(node: FindNode, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr("dicom_node.retrieve.MAX_INSTANCES", 1)
    return got(node, [0, 0])


def moved_to_nobody(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    return [move(peer(node), KNOWN, stored_study(node), "NOBODY").status.code]


def other_action(node: FindNode, _: pytest.MonkeyPatch) -> list[int]:
    assoc = associate(node.port, {PUSH_MODEL: [EXPLICIT]}, calling=KNOWN)
    answer, _none = assoc.send_n_action(keys("STUDY"), 2, PUSH_MODEL, f"{PUSH_MODEL}.1")
    assoc.release()
    return [int(answer.Status)]


OUTCOMES: dict[tuple[str, int], Callable[[FindNode, pytest.MonkeyPatch], list[int]]] = {
    ("ECHO", 0x0000): lambda node, _: [asked_echo(node).code],
    ("ECHO", 0x0124): echo_without_right,
    ("STORE", 0x0000): lambda node, _: [asked_store(node).code],
    ("FIND", 0x0000): lambda node, _: [asked_find(node).code],
    ("FIND", 0xFF00): find_many,
    ("FIND", 0xFF01): find_with_ignored_key,
    ("FIND", 0xFE00): find_cancelled,
    ("FIND", 0xA700): find_many,
    ("RETRIEVE", 0x0000): lambda node, _: got(node, [0, 0]),
    ("RETRIEVE", 0xFF00): lambda node, _: got(node, [0, 0]),
    ("RETRIEVE", 0xB000): lambda node, _: got(node, [0, 0xA700]),
    ("RETRIEVE", 0xFE00): get_cancelled,
    ("RETRIEVE", 0xA702): lambda node, _: got(node, [0xA700, 0xA700]),
    ("RETRIEVE", 0xA701): too_many_instances,
    ("RETRIEVE", 0xA801): moved_to_nobody,
    ("COMMITMENT", 0x0000): lambda node, _: [asked_commitment(node).code],
    ("COMMITMENT", 0x0123): other_action,
}
"""How to be given each status that answers no error."""


def test_no_status_of_the_statement_is_left_out_here() -> None:
    stated = {(service, line.status) for service, table in TABLES.items() for line in table if line.error is None}
    assert stated == set(OUTCOMES)


@pytest.mark.parametrize(("service", "status"), OUTCOMES, ids=[f"{name} {code:04X}" for name, code in OUTCOMES])
def test_every_other_status_of_the_statement_is_given(
    node: FindNode, monkeypatch: pytest.MonkeyPatch, service: str, status: int
) -> None:
    assert status in OUTCOMES[service, status](node, monkeypatch)


@pytest.mark.parametrize("code", SIMILAR)
def test_every_refusal_of_a_similarity_query_has_its_status_and_comment(
    node: FindNode, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*arguments: Any, **more: Any) -> Any:
        raise QueryRefused(code, f"because of {code}")

    monkeypatch.setattr("regionmir.archive.similar.search", refuse)
    calling = f"C{code.replace('-', '').upper()}"[:16]
    found = find(node.port, "STUDY", calling=calling, called="RGN_LLLZ", StudyDescription="SIM ACC1")
    assert (found.status, found.comment) == (SIMILAR[code].status, f"because of {code}")
    assert found.rows[0].StudyDescription == f"SIM ! {SIMILAR[code].status:04X} because of {code}"


def test_every_refusal_that_the_search_can_give_is_in_the_statement() -> None:
    asked = (path for path in sorted(QUERY_CODES.glob("*.py")) if path.name != "uploaded.py")  # of the JSON API alone
    sources = "".join(path.read_text() for path in asked)
    assert set(re.findall(r'QueryRefused\(\s*"([a-z-]+)"', sources)) == set(SIMILAR)


VALUES = {
    tag: str(value["Value"][0]) for tag, value in FULL.items() if value["vr"] != "PN" and not tag.startswith("0020000")
}
VALUES |= {
    "00100010": "Canary1^Real", "00100020": "REALID1", "00080090": "Referrer^Real", "0020000D": "1.2.826.0.1.1",
    "0020000E": "1.2.826.0.1.1.1", "00080018": "1.2.826.0.1.1.1.1", "00080016": CR, "00080062": CR, "00080061": "CR",
    "00201200": "1", "00201202": "1", "00201204": "1", "00201206": "1", "00201208": "1", "00201209": "1",
}  # fmt: skip
"""What the film has, by tag of the key."""

ANOTHER = {"DA": "19010101", "TM": "235959", "UI": "9.9.9", "IS": "4711", "US": "4711", "UL": "4711"}


@pytest.mark.parametrize("tag", listed_tags())
def test_a_key_matches_in_the_ways_that_the_statement_says(node: FindNode, tag: str) -> None:
    value, vr, kinds = VALUES[tag], dictionary_VR(int(tag, 16)), matching_of(tag)
    assert is_found(node, tag, value)
    assert is_found(node, tag, "")
    assert not is_found(node, tag, ANOTHER.get(vr, "Another"))
    assert ("wildcard" in kinds) == (vr not in ANOTHER and is_found(node, tag, value[:2] + "*"))
    if "range" in kinds:
        assert is_found(node, tag, f"{value}-{value}")
        assert is_found(node, tag, f"{value}-")
        assert not is_found(node, tag, f"-{ANOTHER['DA'] if vr == 'DA' else '000000'}")
    if "list of UID" in kinds:
        assert is_found(node, tag, f"9.9.9\\{value}")
    if "any case" in kinds:
        assert is_found(node, tag, value.upper())


def is_found(node: FindNode, tag: str, value: str) -> bool:
    """Ask at the level of the key for the one film, by this key and by the unique keys above."""
    level = level_of(tag)
    above = {
        Level.PATIENT: {},
        Level.STUDY: {"PatientID": "REALID1"},
        Level.SERIES: {"PatientID": "REALID1", "StudyInstanceUID": "1.2.826.0.1.1"},
        Level.IMAGE: {
            "PatientID": "REALID1", "StudyInstanceUID": "1.2.826.0.1.1", "SeriesInstanceUID": "1.2.826.0.1.1.1",
        },
    }[level]  # fmt: skip
    numeric = dictionary_VR(int(tag, 16)) in ("US", "UL") and value
    asked = {**above, keyword_for_tag(int(tag, 16)): int(value) if numeric else value}
    with association(node.port, calling=KNOWN) as assoc:
        found = ask(assoc, keys(level.value, **asked), PATIENT_ROOT)
    assert found.status in (0x0000, 0xA700), found.comment  # A700: more than the cap, the film is among the first
    return any(row.PatientID == "REALID1" for row in found.rows)


def test_every_character_set_without_extensions_of_the_statement_is_understood(node: FindNode) -> None:
    for term in known_character_sets():
        if term.startswith("ISO 2022"):  # with code extensions: test_find.py
            continue
        identifier = keys("STUDY", StudyInstanceUID="1.2.826.0.1.1")
        identifier.SpecificCharacterSet = term
        with association(node.port, calling=KNOWN) as assoc:
            found = ask(assoc, identifier)
        assert (found.status, len(found.rows)) == (0x0000, 1), term


def test_a_receiver_of_implicit_vr_alone_is_sent_that(node: FindNode) -> None:
    wanted = stored_study(node, 1)
    with receiver(syntaxes=("1.2.840.10008.1.2",)) as destination:
        node.register(AE_TITLE, host="127.0.0.1", port=destination.port, disclosure=Disclosure.IDENTIFIED)
        assert move(peer(node), KNOWN, wanted, AE_TITLE).status.is_success
    assert [one.transfer_syntax_uid for one in destination.received] == ["1.2.840.10008.1.2"]
