"""The key object selection: marks the query image, and tells under which code its similar regions open again."""

from highdicom.ko.content import KeyObjectSelection
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from regionmir.results.objects import KEY_OBJECTS, as_instance, evidence, finished, new_object, observer
from regionmir.results.source import KeptAnswer, ResultSource


def key_object(source: ResultSource, answer: KeptAnswer) -> Dataset:
    """Return a Key Object Selection Document (TID 2010) that points to the query image, never to a hit."""
    content = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=[as_instance(source.image)],
        observer_device_context=observer(source),
        description=(
            f"{len(answer.hits)} regions similar to the {answer.name} of this image."
            f" To open them again, search {answer.ae_title} for: SIM {answer.code}"
        ),
    )[0]
    made = new_object(source, KEY_OBJECTS, f"RegionMIR query {answer.short} {answer.code}", answer.code)
    for element in content:
        made.add(element)
    made.ReferencedPerformedProcedureStepSequence = []
    made.CurrentRequestedProcedureEvidenceSequence = evidence(source.image)
    return finished(made, source)
