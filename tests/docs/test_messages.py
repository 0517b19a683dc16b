"""The page of messages holds the messages of the code, with their remedies."""

import pytest

from tests.docs.messages import Message, _of_module, _of_sql, find_messages

MODULE = """
raise SetupError(f"{settings.url} has no {what}", remedy="Begin it anew.")
raise RegistryError(FaultCode.REPO_MISSING, "a b")
raise other("not an error")
raise RuntimeError("a defect of the program")
raise ArchiveError("source_too_large", "the upload is large")
raise DemoError("it is not so")
"""


def test_a_message_has_its_values_by_name_and_its_remedy() -> None:
    given, by_table, by_code, check = _of_module(MODULE)

    assert given == Message("{url} has no {what}", "Begin it anew.")
    assert by_table.text == "a b"
    assert by_table.remedy.startswith("Create the repository")
    assert by_code.remedy.startswith("Make the sources smaller")
    assert check.text == "A check of the demo failed: it is not so"


def test_messages_of_sql_are_found() -> None:
    source = "jsonb_build_object('code', 'x', 'message', 'a worker''s job', 'retryable', true)"

    with_remedy = "'code', 'x', 'message', 'a job', 'remedy', 'See the worker''s log.'"
    joined = "'code', 'x', 'message', 'the image is ' || copied"

    assert list(_of_sql(source)) == [Message("a worker's job")]
    assert list(_of_sql(with_remedy)) == [Message("a job", "See the worker's log.")]
    assert not list(_of_sql(joined))


@pytest.mark.parametrize("area", ["API", "Builds", "Command line", "Docker Engine", "Registries"])
def test_each_part_has_messages(area: str) -> None:
    assert len(find_messages()[area]) > 5
