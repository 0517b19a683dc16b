"""The images of a compose file are found where they are written, and nothing else is touched."""

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.compose.images import MAX_BYTES, MAX_IMAGES, ComposeFile, read_compose
from shared.errors import InvalidInputError
from shared.jobs.results import ComposeResult, PinnedImage

DIGEST = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"


def pin(text: str) -> str:
    file = read_compose(text)
    return file.pinned({image.reference: DIGEST for image in file.images})


def references(file: ComposeFile) -> dict[str, str]:
    return {image.service: str(image.reference) for image in file.images}


def test_a_file_is_pinned_and_keeps_its_comments_order_and_quotes() -> None:
    text = """\
# The shop.
services:
  web:   {image: 'ghcr.io/shop/web:1.4', ports: ["80:80"]}  # in front
  database:
    environment: {HINT: "image: postgres"}
    image: "postgres"   # the newest
  worker:
    image:  registry.example:5000/shop/worker:${TAG:-2}
\r
  built:
    build: .
volumes: {image: {}}
"""

    file = read_compose(text)

    assert references(file) == {
        "web": "ghcr.io/shop/web:1.4",
        "database": "docker.io/library/postgres:latest",
        "worker": "registry.example:5000/shop/worker:2",
    }
    assert file.without_image == ("built",)
    expected = (
        text.replace("shop/web:1.4", f"shop/web:1.4@{DIGEST}")
        .replace('"postgres"', f'"postgres:latest@{DIGEST}"')
        .replace("worker:${TAG:-2}", f"worker:2@{DIGEST}")
    )
    assert pin(text) == expected


@pytest.mark.parametrize(
    ("written", "pinned"),
    [
        ("nginx", f"nginx:latest@{DIGEST}"),
        ("nginx:1.27", f"nginx:1.27@{DIGEST}"),
        ("library/nginx:1", f"library/nginx:1@{DIGEST}"),
        ("docker.io/library/nginx:1", f"docker.io/library/nginx:1@{DIGEST}"),
        ("registry.example:5000/a", f"registry.example:5000/a:latest@{DIGEST}"),
        # What Docker would read otherwise than we do is spelled as it was pulled.
        ("hub.docker.com/a/b:1", f"docker.io/a/b:1@{DIGEST}"),
        ("registry.example:443/a:1", f"registry.example/a:1@{DIGEST}"),
        # Pinned already.
        (f"nginx@{OTHER}", f"nginx@{OTHER}"),
        (f"nginx:1@{OTHER}", f"nginx:1@{OTHER}"),
        (f"nginx@${{DIGEST:-{OTHER}}}", f"nginx@{OTHER}"),
        # Other ways to write a text.
        ("!!str nginx:1", f"!!str nginx:1@{DIGEST}"),
        ("&image nginx:1", f"&image nginx:1@{DIGEST}"),
        ("&image # ours\n      'nginx:1'", f"&image # ours\n      'nginx:1@{DIGEST}'"),
        ('"nginx\\x3a1"', f'"nginx:1@{DIGEST}"'),
        (">-  # nginx:1\n      nginx:1", f">-  # nginx:1\n      nginx:1@{DIGEST}"),
    ],
)
def test_an_image_is_pinned_as_it_is_written(written: str, pinned: str) -> None:
    text = "services:\n  web:\n    image: {}\n    restart: always\n"

    assert pin(text.format(written)) == text.format(pinned)


def test_an_image_that_is_merged_in_is_pinned_where_it_is_written() -> None:
    text = """\
x-base: &base {image: app:1, restart: always}
x-more: &more
  <<: [*base]
services:
  web: {<<: *more}
  worker: {<<: *base, command: work}
  other: {<<: *base, image: other:1}
"""

    assert pin(text) == text.replace("app:1", f"app:1@{DIGEST}").replace(
        "other:1", f"other:1@{DIGEST}"
    )


def test_an_alias_is_replaced_and_what_it_stands_for_stays() -> None:
    text = """\
services:
  redis: {container_name: &name redis, image: *name}
  web: {image: &web "web:1"}
  worker: {image: *web}
"""

    assert pin(text) == text.replace("image: *name", f"image: redis:latest@{DIGEST}").replace(
        '"web:1"', f'"web:1@{DIGEST}"'
    ).replace("*web", f"web:1@{DIGEST}")


def test_a_byte_order_mark_and_signs_beyond_ascii_move_nothing() -> None:
    text = "\ufeff# Größe 🐳\r\nservices: {wébsite-less: }\r\n".replace(
        "{wébsite-less: }", '{web: {labels: ["🐳"], image: app:1}}'
    )

    assert pin(text) == text.replace("app:1", f"app:1@{DIGEST}")


BOMB = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 100)
)
MERGING = ", ".join(f"s{n}: {{<<: *a}}" for n in range(200))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 documents"),
        ("a: [", "not YAML"),
        ("a: \x07", "not YAML"),
        ("services: {a: {image: b}}\n---\nservices: {}\n", "2 documents"),
        ("- services", "mapping of 1 to 200 services"),
        ("version: '3'", "mapping of 1 to 200 services"),
        ("services: {}", "mapping of 1 to 200 services"),
        ("services: [web]", "mapping of 1 to 200 services"),
        ("services: {web: nginx}", "service web is not a mapping"),
        ("services: {[a]: {image: b}}", "not a service's name"),
        ("services: {'a b': {image: b}}", "not a service's name"),
        ("services: {web: {build: .}}", "1 to 50 services with an image, this one has 0"),
        ("services: {web: {image: a}, web: {image: b}}", "the service web twice"),
        ("services: {web: {image: a, image: b}}", "the key image twice"),
        ("services: {web: {image: 5}}", "image of web is not text"),
        ("services: {web: {image: }}", "image of web is not text"),
        ("services: {web: {image: [a]}}", "image of web is not text"),
        ("services: {web: {image: !reset null}}", "image of web is not text"),
        ("services: {web: {image: 'a:${TAG}'}}", "image of web: the variable TAG has no value"),
        ("services: {web: {image: $APP}}", "image of web: the variable APP has no value"),
        ("services: {web: {image: Web}}", "image of web: the repository name must be lower-case"),
        (f"services: {{web: {{image: {'a' * 701}}}}}", "image of web has more than 700"),
        ("services: {web: {image: *none}}", "alias *none has no anchor before it"),
        ("services: {web: {image: &a b, container_name: *a}}", "also used for another value"),
        ("services: {" + "a: {" * 70, "nested deeper"),
        ("[" * MAX_BYTES, "nested deeper"),
        ("#" * (MAX_BYTES + 1), "larger than 192 KiB"),
        (f"services: {{{', '.join(f's{n}: {{image: a}}' for n in range(51))}}}", "this one has 51"),
        (f"services: {{{', '.join(f's{n}: {{}}' for n in range(201))}}}", "1 to 200 services"),
        (f"{BOMB}services: {{web: *a99}}", "more than 200 mappings"),
        (f"a: &a {{<<: [{'{},' * 50_000}]}}\nservices: {{web: {{<<: *a}}}}", "more than 200"),
        (f"a: &a {{{'a,' * 90_000}}}\nservices: {{{MERGING}}}", "this one has 0"),
    ],
)
def test_an_image_that_cannot_be_pinned_is_refused(text: str, said: str) -> None:
    """Some of these would keep a parser busy for minutes, or for ever."""
    with pytest.raises(InvalidInputError) as caught:
        read_compose(text)

    assert said in caught.value.message


def test_the_largest_file_pinned_fits_into_a_result() -> None:
    """262,144 bytes are what `worker_v1.finish` takes of the end of an attempt."""
    host, names = f"{'h' * 60}.example", [f"{'s' * 60}{n:03}" for n in range(200)]
    lines = [f"  {name}: {{image: {host}/{'r' * 180}/{n}}}\n" for n, name in enumerate(names[:50])]
    lines += [f"  {name}: {{build: .}}\n" for name in names[50:]]
    text = "services:\n" + "".join(lines)
    text += "#" * (MAX_BYTES - len(text))
    file = read_compose(text)
    digests = {image.reference: DIGEST for image in file.images}
    images = tuple(
        PinnedImage(
            service=image.service,
            reference=str(image.reference.with_digest(DIGEST)),
            digest=DIGEST,
        )
        for image in file.images
    )

    result = ComposeResult(
        compose_file=file.pinned(digests), images=images, without_image=file.without_image
    )

    assert len(images) == MAX_IMAGES
    assert len(result.model_dump_json(by_alias=True)) < 262_144 - 5_000


# Whatever a file holds beside its images: generated, and written by another's hand.
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
values = st.recursive(
    st.one_of(words, st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=5,
)
images = st.from_regex(
    r"(ghcr\.io/)?[a-z]{1,6}(/[a-z0-9]{1,6})?(:[a-z0-9][a-z0-9.]{0,4})?", fullmatch=True
)
services = st.dictionaries(words, values, max_size=3).map(
    lambda service: {key: value for key, value in service.items() if key not in {"image", "<<"}}
)
files = st.fixed_dictionaries(
    {
        "services": st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
            st.tuples(services, images).map(lambda made: {**made[0], "image": made[1]}),
            min_size=1,
            max_size=3,
        )
    },
    optional={"volumes": values, "x-any": values},
)
styles = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([None, True, False]),
        "default_style": st.sampled_from([None, "'", '"', "|", ">"]),
        "width": st.integers(10, 100),
        "indent": st.integers(2, 6),
        "allow_unicode": st.booleans(),
        "line_break": st.sampled_from(["\n", "\r\n", "\r"]),
        "sort_keys": st.booleans(),
    }
)


@given(files, styles)
def test_a_pinned_file_is_the_same_document_but_for_its_images(
    content: dict[str, Any], style: dict[str, Any]
) -> None:
    text = yaml.dump(content, Dumper=yaml.CSafeDumper, **style)

    pinned = pin(text)

    changed = yaml.load(text, Loader=yaml.CSafeLoader)
    for service in changed["services"].values():
        plain = service["image"]
        tagged = plain if ":" in plain else f"{plain}:latest"
        service["image"] = f"{tagged}@{DIGEST}"
    assert yaml.load(pinned, Loader=yaml.CSafeLoader) == changed


@given(st.text(max_size=200) | st.text("{}[]:,-&*!|>'\"#% \n\tab<", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        read_compose(f"services: {{web: {{image: a}}}}\n{text}")
