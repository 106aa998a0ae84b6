"""The picture of an answer: the query's region beside those of its hits, every film fetched by C-GET."""

from collections.abc import Sequence
from io import BytesIO

from pydicom.dataset import Dataset

from db.retrieve import AnsweredRegion
from regionmir.admin.similar import SimilarAnswer
from regionmir.core.errors import RegionMirError
from regionmir.pixels.decode import DisplayImage, display_image
from regionmir.pixels.render import Panel, comparison_sheet
from regionmir.scu.get import get, storage_contexts
from regionmir.scu.peer import PeerAddress
from regionmir.scu.sending import FALLBACK_SYNTAXES

_NOT_AUTHORIZED = 0x0124


def answer_picture(
    answer: SimilarAnswer, regions: Sequence[AnsweredRegion], node: PeerAddress, calling_ae: str
) -> bytes:
    """Return a PNG of the query's region and the hits', with boxes, ranks and similarities.

    `regions`: of this answer, from the node's database (`db.retrieve.answered_regions`). Raises `RegionMirError` where
    a film cannot be fetched, `PeerUnavailable`, `PeerRefused`.
    """
    by_rank = {region.rank: region for region in regions}
    if 0 not in by_rank:
        raise RegionMirError(f"the node's database does not hold the answer {answer.code or answer.anchor}")
    query = Panel(_fetched(by_rank[0], node, calling_ae), by_rank[0].box, caption=answer.anchor)
    hits = [
        Panel(
            _fetched(by_rank[hit.rank], node, calling_ae),
            by_rank[hit.rank].box,
            rank=hit.rank,
            similarity=hit.similarity,
            caption=" ".join(filter(None, (hit.patient_id, hit.study_date, hit.view))),
        )
        for hit in answer.hits
        if hit.rank in by_rank
    ]
    title = f"{answer.anatomy.name} ({answer.anatomy.short})  {answer.code}"
    return comparison_sheet(query, hits, title=title, coverage=answer.coverage)


def _fetched(region: AnsweredRegion, node: PeerAddress, calling_ae: str) -> DisplayImage:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = region.study_instance_uid
    identifier.SeriesInstanceUID = region.series_instance_uid
    identifier.SOPInstanceUID = region.sop_instance_uid
    got: list[bytes] = []

    def take(_uid: str, content: bytes) -> int:
        got.append(content)
        return 0x0000

    syntaxes = list(dict.fromkeys([str(region.transfer_syntax_uid), *map(str, FALLBACK_SYNTAXES)]))
    answer = get(node, calling_ae, identifier, take, storage=storage_contexts([region.sop_class_uid], syntaxes))
    if answer.status.code == _NOT_AUTHORIZED:
        raise RegionMirError(
            f"{calling_ae} may not retrieve films ({answer.status.comment}); on this machine: "
            f"regionmir peers add {calling_ae} --source 127.0.0.1 --disclosure identified"
        )
    if not got:
        raise RegionMirError(f"a film could not be fetched: {answer.status}")
    return display_image(BytesIO(got[0]))
