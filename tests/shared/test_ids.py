import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import make_id, uuid7

moments = st.integers(0, 2**48 - 1)
entropy = st.binary(min_size=10, max_size=10)


@given(moments, entropy)
def test_an_id_is_a_version_seven_uuid_of_its_moment(moment: int, noise: bytes) -> None:
    made = UUID(uuid7(moment, noise))

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == moment


@given(moments, moments, entropy, entropy)
def test_ids_sort_by_their_moments(one: int, two: int, first: bytes, second: bytes) -> None:
    if one < two:
        assert uuid7(one, first) < uuid7(two, second)


def test_an_id_is_safe_in_names_of_roles_queues_and_keys() -> None:
    made = [make_id() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"[0-9a-f-]{36}", name) for name in made)
