"""All that we propose where we request an association, by what we do there: for the conformance statement."""

from collections.abc import Iterator
from typing import NamedTuple

from pynetdicom.presentation import PresentationContext

from regionmir.scu.commitment import commitment_context
from regionmir.scu.echo import echo_context
from regionmir.scu.find import FIND_MODELS, find_contexts
from regionmir.scu.get import GET_MODELS, get_context, storage_contexts
from regionmir.scu.move import MOVE_MODELS, move_context


class Proposal(NamedTuple):
    """One SOP class with the transfer syntaxes proposed, best first, and the roles that we take or offer."""

    activity: str
    sop_class_uid: str
    syntaxes: tuple[str, ...]
    roles: tuple[str, ...] = ("SCU",)


def proposals() -> list[Proposal]:
    """Return what we propose, apart from the instances of C-STORE: these go in the syntax that they are stored in."""
    get_storage: dict[str, list[str]] = {}
    for context in storage_contexts():
        get_storage.setdefault(str(context.abstract_syntax), []).extend(map(str, context.transfer_syntax))
    return [
        _proposal("C-ECHO", echo_context()),
        *(_proposal("C-FIND", context) for context in find_contexts(list(FIND_MODELS))),
        *(_proposal("C-MOVE", move_context(root)) for root in MOVE_MODELS),
        *(_proposal("C-GET", get_context(root)) for root in GET_MODELS),
        *(Proposal("C-GET", sop_class, tuple(found), ("SCP",)) for sop_class, found in get_storage.items()),
        *_commitment(commitment_context()),
    ]


def _proposal(activity: str, context: PresentationContext) -> Proposal:
    return Proposal(activity, str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))


def _commitment(context: PresentationContext) -> Iterator[Proposal]:
    """Give both: as SCU we ask, as SCP we report over an association of our own."""
    asked = _proposal("N-ACTION", context)
    yield asked
    yield asked._replace(activity="N-EVENT-REPORT", roles=("SCP",))
