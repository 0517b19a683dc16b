"""BuildKit's progress: recorded messages, generated messages and malformed ones."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.builds.trace import Trace, parse_status

# Recorded from BuildKit of Engine 20.10, in a build of "RUN echo hello b".
STARTED = (
    "CrwBCkdzaGEyNTY6YWM2NGFiNTMxYjQ4OTFlYjYxNDNmYjljN2RiN2FiZTIyZDIwMjRmMzEyM2YyMTFmYmIwZDI3NjI1"
    "MzM3NDdmNhJHc2hhMjU2OjAzYTFhMDNjNjAzYjY2OTkzZWY5MmM5YjQ0MmNjOTUxYTRhZDMyN2E3YzFmMDRkZTIyMTky"
    "YjA3ZTg3NzRjZjQaGltvbmUgMi8yXSBSVU4gZWNobyBoZWxsbyBiKgwI+puY2AYQqeXG0QE="
)
PRINTED = (
    "GmMKR3NoYTI1NjphYzY0YWI1MzFiNDg5MWViNjE0M2ZiOWM3ZGI3YWJlMjJkMjAyNGYzMTIzZjIxMWZiYjBkMjc2MjUz"
    "Mzc0N2Y2EgwI+puY2AYQ1cPqoAIYASIIaGVsbG8gYgo="
)
ENDED = (
    "CsoBCkdzaGEyNTY6YWM2NGFiNTMxYjQ4OTFlYjYxNDNmYjljN2RiN2FiZTIyZDIwMjRmMzEyM2YyMTFmYmIwZDI3NjI1"
    "MzM3NDdmNhJHc2hhMjU2OjAzYTFhMDNjNjAzYjY2OTkzZWY5MmM5YjQ0MmNjOTUxYTRhZDMyN2E3YzFmMDRkZTIyMTky"
    "YjA3ZTg3NzRjZjQaGltvbmUgMi8yXSBSVU4gZWNobyBoZWxsbyBiKgwI+puY2AYQqeXG0QEyDAj6m5jYBhCr0+yoAg=="
)


def varint(value: int) -> bytes:
    more = bytes([value & 0x7F])
    return more if value < 0x80 else bytes([more[0] | 0x80]) + varint(value >> 7)


def number(key: int, value: int) -> bytes:
    return varint(key << 3) + varint(value)


def content(key: int, value: bytes) -> bytes:
    return varint(key << 3 | 2) + varint(len(value)) + value


def encoded(*parts: bytes) -> str:
    return base64.b64encode(b"".join(parts)).decode()


def vertex(name: str, *more: bytes, digest: str = "sha256:1") -> bytes:
    return content(1, content(1, digest.encode()) + content(3, name.encode()) + b"".join(more))


def printed(text: bytes, digest: str = "sha256:1") -> bytes:
    return content(3, content(1, digest.encode()) + content(4, text))


def test_a_recorded_step_is_logged_from_start_to_end() -> None:
    trace = Trace()

    lines = [line for message in (STARTED, PRINTED, ENDED) for line in trace.feed(message)]

    assert lines == ["#1 [one 2/2] RUN echo hello b", "#1 hello b", "#1 done in 0.2 s"]
    assert trace.failed == ""


def test_a_step_reported_repeatedly_is_logged_once() -> None:
    trace = Trace()

    lines = [line for message in [STARTED, STARTED, ENDED, ENDED] for line in trace.feed(message)]

    assert lines == ["#1 [one 2/2] RUN echo hello b", "#1 done in 0.2 s"]


def test_a_step_that_has_not_started_is_not_logged() -> None:
    assert Trace().feed(encoded(vertex("[2/2] RUN later"))) == []


def test_a_failed_step_is_remembered() -> None:
    trace = Trace()

    lines = trace.feed(encoded(vertex("[2/2] RUN x", content(7, b"exit code: 7"))))

    assert trace.failed == "[2/2] RUN x"
    assert lines == ["#1 [2/2] RUN x", "#1 failed: exit code: 7"]


def test_a_cached_step_is_logged_as_cached() -> None:
    ended = vertex("FROM a", number(4, 1), content(6, number(1, 5)))

    assert Trace().feed(encoded(ended)) == ["#1 FROM a", "#1 cached"]


def test_output_is_joined_over_messages_and_an_unended_line_is_kept() -> None:
    trace = Trace()
    euro = "€".encode()
    trace.feed(encoded(vertex("RUN x", content(5, number(1, 4)))))

    lines = [
        *trace.feed(encoded(printed(b"one " + euro[:1]))),
        *trace.feed(encoded(printed(euro[1:] + b"\ntwo"))),
        *trace.feed(encoded(vertex("RUN x", content(6, number(1, 5))))),
    ]

    assert lines == ["#1 one €", "#1 two", "#1 done in 5.0 s"]


def test_the_lines_of_two_concurrent_steps_are_kept_apart() -> None:
    trace = Trace()
    for digest in ("a", "b"):
        trace.feed(encoded(vertex(f"RUN {digest}", content(5, number(1, 4)), digest=digest)))

    lines = [
        *trace.feed(encoded(printed(b"on", "a"), printed(b"tw", "b"))),
        *trace.feed(encoded(printed(b"e\n", "a"), printed(b"o\n", "b"))),
    ]

    assert lines == ["#1 one", "#2 two"]


def test_a_warning_is_shown() -> None:
    assert Trace().feed(encoded(content(4, content(3, b"old syntax")))) == ["warning: old syntax"]


@given(st.binary(max_size=300))
def test_no_message_makes_the_trace_raise(garbage: bytes) -> None:
    trace = Trace()

    trace.feed(base64.b64encode(garbage).decode())

    assert len(trace.failed) <= len(garbage)


@given(st.text(max_size=50))
def test_no_text_makes_the_trace_raise(garbage: str) -> None:
    assert all(isinstance(line, str) for line in Trace().feed(garbage))


@given(st.data())
def test_a_truncated_message_is_read_up_to_its_end(data: st.DataObject) -> None:
    whole = base64.b64decode(ENDED)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    assert parse_status(base64.b64encode(cut).decode()).vertexes == ()


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.booleans(), st.integers(0, 2**33), st.text(max_size=9)),
        max_size=4,
    )
)
def test_every_field_is_read_back(steps: list[tuple[str, bool, int, str]]) -> None:
    parts = [
        vertex(
            name,
            number(4, int(is_cached)),
            content(5, number(1, seconds)),
            content(7, error.encode()),
        )
        for name, is_cached, seconds, error in steps
    ]

    found = parse_status(encoded(*parts)).vertexes

    assert [(one.name, one.is_cached, one.started, one.error) for one in found] == steps


@pytest.mark.parametrize("key", [1, 3, 5], ids=["fixed 64", "a group's start", "fixed 32"])
def test_fields_of_other_wire_types_are_skipped_or_end_the_message(key: int) -> None:
    unknown = varint(9 << 3 | key) + b"\0" * (8 if key == 1 else 4)

    found = parse_status(encoded(unknown, vertex("RUN x"))).vertexes

    assert [one.name for one in found] == ([] if key == 3 else ["RUN x"])


def test_the_number_of_tracked_steps_is_limited() -> None:
    trace = Trace(max_steps=2)

    for digest in ("a", "b", "c"):
        trace.feed(encoded(vertex("RUN", content(5, number(1, 4)), digest=digest)))

    assert trace.feed(encoded(printed(b"x\n", "c"))) == []
