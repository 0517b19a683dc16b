"""Only a write of a server that was cut off may come after the end of its job."""

import pytest

from tests.chaos.outside import SENT_AGAIN_SECONDS, NetworkCut

CUT = NetworkCut("server-1", begun=100.0, over=120.0)
END = CUT.over + SENT_AGAIN_SECONDS


@pytest.mark.parametrize(
    ("server_id", "finished", "written", "explained"),
    [
        ("server-1", 115.0, 121.0, True),
        ("server-1", 115.0, END + 1, False),
        ("server-1", 99.0, 121.0, False),
        ("server-1", END + 1, END + 2, False),
        ("server-2", 115.0, 121.0, False),
    ],
    ids=["cut off", "long after", "ended before", "ended after", "another server"],
)
def test_a_late_write_is_explained_by_a_cut_of_its_own_server_alone(
    server_id: str, finished: float, written: float, *, explained: bool
) -> None:
    assert CUT.explains(server_id, finished, written) is explained
