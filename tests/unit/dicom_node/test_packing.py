from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.arrival import packed

HEADER = 5


def p_data(fragment: bytes) -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((1, fragment))
    return primitive


def sizes(parts: list[P_DATA]) -> list[int]:
    return [sum(HEADER + len(data) for _, data in part.presentation_data_value_list) for part in parts]


def test_a_command_and_a_small_data_set_share_one_pdu() -> None:
    (one,) = packed([p_data(b"\x03command"), p_data(b"\x02data")], 16384)
    assert [data for _, data in one.presentation_data_value_list] == [b"\x03command", b"\x02data"]


@given(st.lists(st.binary(min_size=2, max_size=60), min_size=1, max_size=30), st.sampled_from([0, 65, 100, 500]))
def test_fragments_keep_their_order_and_no_pdu_is_too_long(fragments: list[bytes], limit: int) -> None:
    parts = list(packed(map(p_data, fragments), limit))
    assert [data for part in parts for _, data in part.presentation_data_value_list] == fragments
    assert limit == 0 or max(sizes(parts)) <= limit
    if limit == 0:
        assert len(parts) == 1
