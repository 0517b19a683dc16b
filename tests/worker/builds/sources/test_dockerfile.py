"""The base images of a Dockerfile are found."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.builds.sources.certainty import find_doubts
from worker.builds.sources.dockerfile import Base, expand, parse_bases, pin_bases

A, B = "docker.io/library/a", "docker.io/library/b"
WORDS = ["FROM", "ARG", "A=1", "$A", "${A", "\\", "\n", "<<E", "E", "--from=x", "AS", "'", '"', "`"]


def names(dockerfile: str, build_args: dict[str, str] | None = None, stage: str = "") -> list[str]:
    return [str(base.reference) for base in parse_bases(dockerfile, build_args, stage)]


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        ("FROM alpine", ["docker.io/library/alpine"]),
        ("from r.example/a:1 as x", ["r.example/a:1"]),
        ("FROM\ta/b\n", ["docker.io/a/b"]),
        ("FROM scratch\nCOPY . /\n", []),
        ("FROM a AS one\nFROM ONE AS two\nFROM b", [A, B]),
        ("FROM a\nFROM a\n", [A]),
        ("FROM \\\n  # why\n\n  a:1 \\\n  AS x\n", ["docker.io/library/a:1"]),
        ("# escape=`\nFROM `\n a\n", [A]),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n a\n", [A]),
        ("# why\n# escape=`\nFROM a\n", [A]),
        ("FROM a\nCOPY --from=r.example/tool:2 /x /y", [A, "r.example/tool:2"]),
        ("FROM a AS b\nFROM b\nCOPY --chown=1 --from=b / /\nCOPY --from=0 / /", [A]),
        (
            "FROM a\nRUN --mount=type=bind,from=r.example/t:1,target=/t --network=none make",
            [A, "r.example/t:1"],
        ),
        ("FROM a\nRUN cat <<EOF > /x\nFROM no\nEOF\nFROM b", [A, B]),
        ("FROM a\nRUN cat <<-'X'\nFROM no\n\tX\nFROM b", [A, B]),
        ("FROM a\nRUN echo $((1<<N))\nFROM b", [A, B]),
        ("FROM a\nRUN echo FROM b \\\n  FROM c\n", [A]),
        ("FROM UPPER/case\nFROM a:b:c", []),
        ("\ufeffFROM a", [A]),
        ("FROM", []),
        ("", []),
    ],
)
def test_base_images_are_found(dockerfile: str, found: list[str]) -> None:
    assert names(dockerfile) == found


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "found"),
    [
        ("ARG V=1\nFROM a:$V", {}, ["docker.io/library/a:1"]),
        ("ARG V=1\nFROM a:$V", {"V": "2"}, ["docker.io/library/a:2"]),
        ("ARG V\nFROM a:${V:-3}", {}, ["docker.io/library/a:3"]),
        ("ARG V\nFROM a${V:+:9}", {"V": "x"}, ["docker.io/library/a:9"]),
        ("ARG R=r.example V='1'\nARG I=\"$R/b:${V}\"\nFROM $I", {}, ["r.example/b:1"]),
        ("FROM a:$V", {"V": "1"}, []),
        ("FROM a\nARG V=1\nFROM b:$V", {}, [A]),
    ],
)
def test_global_arguments_are_expanded(
    dockerfile: str, arguments: dict[str, str], found: list[str]
) -> None:
    assert names(dockerfile, arguments) == found


def test_a_platform_is_kept_with_its_image() -> None:
    dockerfile = "ARG P=linux/arm64\nFROM --platform=$P a\nFROM --platform=$BUILDPLATFORM b"

    platforms = [base.platform for base in parse_bases(dockerfile)]

    assert platforms == ["linux/arm64", ""]


@pytest.mark.parametrize(
    ("stage", "count"), [("", 3), ("two", 2), ("TWO", 2), ("0", 1), ("none", 3)]
)
def test_stages_after_the_requested_one_are_ignored(stage: str, count: int) -> None:
    assert len(names("FROM a\nFROM b AS two\nFROM c", stage=stage)) == count


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert all(isinstance(base, Base) for base in parse_bases(text))


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_no_mixture_of_words_breaks_the_reader(text: str) -> None:
    assert len(parse_bases(text, {"A": "1"})) <= text.count("FROM") + text.count("--from")


@given(st.text(st.characters(exclude_characters="$'\"\\"), max_size=30))
def test_text_without_variables_stays_as_it_is(text: str) -> None:
    assert expand(text, {}) == text


LARGE = 1024 * 1024
DOUBLING = "ARG A0=" + "a" * 100 + "".join(f"\nARG A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 60))


@pytest.mark.parametrize(
    "text",
    [
        "ARG " + "a" * LARGE + "!",
        ("ARG " + "a" * 8000 + "!\n") * 120,
        ("ARG A=" + "${a:-" * 1600 + "\n") * 120,
        DOUBLING + "\nFROM $A59",
        "FROM x\nRUN " + "--a " * (LARGE // 4),
        "FROM x\n" + ("RUN " + "<<A " * 20 + "\n") * 10_000,
        "FROM x\nRUN " + "<<A " * (LARGE // 4) + "\n",
        "\\ " * (LARGE // 2),
    ],
    ids=["word", "words", "variables", "doubling", "flags", "heredocs", "heredoc", "escapes"],
)
def test_no_dockerfile_takes_long(text: str) -> None:
    start = time.process_time()

    parse_bases(text)
    find_doubts(text, {})

    assert time.process_time() - start < 5


def test_a_heredoc_with_tabs_ends_at_its_own_word() -> None:
    assert names("FROM a\nRUN <<-E <<F\nFROM no\n\tE\nFROM no\n\tF\nF\nFROM b\n") == [A, B]


@pytest.mark.parametrize(
    ("dockerfile", "pinned"),
    [
        ("FROM a", "FROM PIN"),
        ("FROM a AS x\nRUN a\nFROM x\n", "FROM PIN AS x\nRUN a\nFROM x\n"),
        ("FROM b\n", "FROM b\n"),
        ("ARG V=a\nfrom --platform=$P ${V} as a\n", "ARG V=a\nFROM --platform=$P PIN as a\n"),
        ("FROM \\\n # why\n a \\\n AS x\nRUN x", "FROM PIN  AS x\n\n\n\nRUN x"),
        ("FROM a\r\nRUN <<E\r\nFROM a\r\nE\r\n", "FROM PIN\nRUN <<E\r\nFROM a\r\nE\r\n"),
        ("FROM b\nCOPY --chown=1 --from=a a /a", "FROM b\nCOPY --chown=1 --from=PIN a /a"),
        (
            "FROM b\nRUN --mount=type=bind,from=a,target=/a \\\n  cp --from=a",
            "FROM b\nRUN --mount=type=bind,from=PIN,target=/a \\\n  cp --from=a",
        ),
        ("FROM a\nFROM scratch\nCOPY --from=0 a a", "FROM PIN\nFROM scratch\nCOPY --from=0 a a"),
        ("FROM b AS a\nFROM a\nCOPY --from=a / /", "FROM b AS a\nFROM a\nCOPY --from=a / /"),
        ("\ufeffFROM a\n\udcff", "FROM PIN\n\udcff"),
    ],
)
def test_bases_are_pinned_and_lines_keep_their_numbers(dockerfile: str, pinned: str) -> None:
    base = next((base for base in parse_bases(dockerfile) if str(base.reference) == A), None)
    pins = {base: "PIN"} if base else {}

    assert pin_bases(dockerfile, pins) == pinned
    assert pinned.count("\n") == dockerfile.count("\n")


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_any_mixture_of_words_keeps_its_number_of_lines(text: str) -> None:
    pins = dict.fromkeys(parse_bases(text, {"A": "1"}), "PIN")

    assert pin_bases(text, pins, {"A": "1"}).count("\n") == text.count("\n")
