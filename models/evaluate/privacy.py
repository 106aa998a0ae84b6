"""Does a vector know its patient? How often another film of the same patient is the nearest of all.

A privacy figure: the higher, the easier a region's vector links films of a person whose name was taken off.
"""

import numpy as np

from models.evaluate.analysed import Analysed
from models.evaluate.cases import Cases, join, make_cases, no_cases
from models.evaluate.retrieval import equal_pairs

MEASURES = ("nearest_is_same_patient", "by_chance")


def reidentification_cases(database: Analysed, queries: Analysed) -> Cases:
    """Return a case per region of a query patient with another film: is the nearest region of that patient?

    Candidates are the same anatomy on all other query films and all films of the database, without films of equal
    pixels. `by_chance` is the share of the patient's own films among them. No cases where no patient repeats.
    """
    parts = []
    equal = equal_pairs(queries.pixel_sums, np.concatenate([queries.pixel_sums, database.pixel_sums]))
    patients = np.concatenate([queries.patients, database.patients])
    found = np.concatenate([queries.found, database.found])
    own = equal_pairs(queries.patients, patients) & ~equal
    for slot in range(queries.found.shape[1]):
        candidates = np.flatnonzero(found[:, slot])
        rows = np.flatnonzero(queries.found[:, slot] & own[:, candidates].any(axis=1))
        if not len(rows):
            continue
        base = np.concatenate([queries.vectors[:, slot], database.vectors[:, slot]])[candidates]
        shut, same = equal[np.ix_(rows, candidates)], own[np.ix_(rows, candidates)]
        nearest = np.where(shut, -np.inf, queries.vectors[rows, slot] @ base.T).argmax(axis=1)
        values = {
            "nearest_is_same_patient": same[np.arange(len(rows)), nearest],
            "by_chance": same.sum(axis=1) / (~shut).sum(axis=1),
        }
        parts.append(make_cases(queries.patients, rows, np.full(len(rows), slot), values))
    return join(parts) if parts else no_cases(*MEASURES)
