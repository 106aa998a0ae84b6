"""`python -m tests.fuzz.one TARGET [libFuzzer's options] CORPUS`: one of our readers under atheris."""

import logging
import random
import sys
import warnings

import atheris

_TABLES = [
    *("pydicom._dicom_dict", "pydicom._uid_dict", "pydicom._private_dict", "pydicom._version"),
    *("pydicom.sr._snomed_dict", "pydicom.sr._concepts_dict", "pydicom.sr._cid_dict"),
]
"""Thousands of entries and no decision."""

with atheris.instrument_imports(include=["regionmir", "dicom_node", "pydicom", "pynetdicom"], exclude=_TABLES):
    from tests.fuzz import live
    from tests.hostile.mutation import mutated
    from tests.hostile.targets import TARGETS
    from tests.hostile.wire import mutated_pdus, split_pdus

_STRUCTURED = frozenset({"objects", "header", "annotation", "identifier", "http"})


def main(name: str, options: list[str]) -> None:
    """Fuzz until the time is over. Inputs of structure are broken by structure half of the time."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    structured = {"custom_mutator": _broken} if name in _STRUCTURED else {}
    more = {"custom_mutator": _broken_pdus} if name == "pdus" else structured
    target = live.pdus if name == "pdus" else TARGETS[name]
    if name == "pdus":
        live.start()
    atheris.Setup([sys.argv[0], *options], target, **more)
    atheris.Fuzz()


def _broken(data: bytes, max_size: int, seed: int) -> bytes:
    if data and random.Random(seed).random() < 0.5:
        return mutated(data, seed)[:max_size]
    return _by_libfuzzer(data, max_size)


def _broken_pdus(data: bytes, max_size: int, seed: int) -> bytes:
    if random.Random(seed).random() < 0.5:
        return b"".join(mutated_pdus(split_pdus(data), seed))[:max_size]
    return _by_libfuzzer(data, max_size)


def _by_libfuzzer(data: bytes, max_size: int) -> bytes:
    found: bytes = atheris.Mutate(data, len(data) or 1)
    return found[:max_size]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
