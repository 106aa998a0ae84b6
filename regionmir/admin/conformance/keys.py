"""Query keys: their level, type and matching, found out by asking the code that matches; and who sees them how."""

from typing import Final

from pydicom.datadict import dictionary_description, dictionary_VR

from db.find import Days, Instants, NameLike, Numbers, OneOf, Test, Wildcard, level_of, listed_tags
from regionmir.admin.conformance.tables import markdown_table
from regionmir.core.records import Disclosure
from regionmir.query.disclosure import PSEUDONYMOUS
from regionmir.query.keys import QUERY_RETRIEVE_LEVEL, Key, Keys
from regionmir.query.matching import REQUIRED_KEYS, UNIQUE_KEYS, Root, read_request

_MATCHING: Final[dict[type, str]] = {
    OneOf: "single value",
    Wildcard: "wildcard",
    NameLike: "single value, wildcard; by component group, in any case",
    Days: "single value, range",
    Instants: "single value, range",
    Numbers: "single value",
}


def key_table() -> str:
    """Return the keys by level: U unique, R required, O optional (PS3.4 C.2.2.1)."""
    ordered = sorted(listed_tags(), key=lambda tag: (level_of(tag).depth, tag))
    rows = [
        (level_of(tag).value, dictionary_description(int(tag, 16)), _tag(tag), _type(tag), matching_of(tag))
        for tag in ordered
    ]
    return markdown_table(("level", "attribute", "tag", "type", "matching, besides universal"), rows)


def disclosure_table() -> str:
    """Return what a pseudonymous caller sees and matches in the place of each attribute."""
    rows = [(dictionary_description(int(tag, 16)), _tag(tag), field.form.value) for tag, field in PSEUDONYMOUS.items()]
    return markdown_table(
        ("attribute", "tag", "pseudonymous"),
        [*rows, ("anything else", "", "empty; a key with a value gives no match")],
    )


def matching_of(tag: str) -> str:
    """Return the kinds of matching of an attribute."""
    vr = dictionary_VR(int(tag, 16))
    found = [_MATCHING[type(_test(tag, vr, {"DA": "20200101", "TM": "10"}.get(vr, "1")))]]
    if vr == "UI":
        found.append("list of UID")
    if vr not in ("DA", "TM", "PN") and isinstance(_test(tag, vr, "1*"), Wildcard):
        found.append(_MATCHING[Wildcard])
    return ", ".join(found)


def _test(tag: str, vr: str, text: str) -> Test:
    level = level_of(tag)
    above = {unique: Key(unique, "UI", ("1",)) for of, unique in UNIQUE_KEYS.items() if of.depth < level.depth}
    keys = {**above, QUERY_RETRIEVE_LEVEL: Key(QUERY_RETRIEVE_LEVEL, "CS", (level.value,)), tag: Key(tag, vr, (text,))}
    conditions = read_request(Keys(keys), Root.PATIENT, Disclosure.IDENTIFIED).conditions
    return next(condition.tests[0] for condition in conditions if condition.field.tag == tag)


def _type(tag: str) -> str:
    if tag in UNIQUE_KEYS.values():
        return "U"
    return "R" if tag in REQUIRED_KEYS else "O"


def _tag(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})"
