"""Notifications of pushes in the bodies that registries send; nothing else is one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.deploy_hooks.pushes import Push, parse_pushes
from shared.reference import parse_reference

DIGEST = f"sha256:{'a' * 64}"


def distribution(
    *tags: str | None,
    action: str = "push",
    host: str = "ghcr.io",
    target: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """As https://distribution.github.io/distribution/about/notifications/ shows it."""
    events = [
        {
            "id": f"event-{number}",
            "timestamp": "2026-01-15T10:30:00.000000000Z",
            "action": action,
            "target": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "size": 708,
                "digest": DIGEST,
                "length": 708,
                "repository": "team/app",
                "url": f"http://{host}/v2/team/app/manifests/{DIGEST}",
                **({"tag": tag} if tag else {}),
                **(target or {}),
            },
            "request": {"id": "1", "addr": "192.0.2.1:40000", "host": host, "method": "PUT"},
            "actor": {},
            "source": {"addr": "registry:5000", "instanceID": "2"},
        }
        for number, tag in enumerate(tags)
    ]
    return {"events": events}


HUB = {
    "callback_url": "https://registry.hub.docker.com/u/team/app/hook/2141b5bi5i5b02bec211i4eeih0242/",
    "push_data": {"pushed_at": 1417566161, "pusher": "team", "tag": "1.4.2"},
    "repository": {"name": "app", "namespace": "team", "repo_name": "team/app", "status": "Active"},
}
GITHUB = {
    "action": "published",
    "registry_package": {
        "name": "App",
        "namespace": "Team",
        "ecosystem": "CONTAINER",
        "package_type": "CONTAINER",
        "package_version": {
            "version": DIGEST,
            "container_metadata": {"tag": {"name": "1.4.2", "digest": DIGEST}},
            "package_url": "ghcr.io/Team/App:1.4.2",
        },
    },
}
HARBOR = {
    "type": "PUSH_ARTIFACT",
    "occur_at": 1586922308,
    "operator": "admin",
    "event_data": {
        "resources": [
            {
                "digest": DIGEST,
                "tag": "1.4.2",
                "resource_url": "harbor.example/team/app:1.4.2",
            }
        ],
        "repository": {"name": "app", "namespace": "team", "repo_full_name": "team/app"},
    },
}


def test_a_distribution_registry_reports_pushes_by_tag() -> None:
    pushes = parse_pushes(distribution("1.0", None, "1.1"))

    assert pushes == [
        Push("team/app", "1.0", "ghcr.io", "event-0"),
        Push("team/app", "1.1", "ghcr.io", "event-2"),
    ]


@pytest.mark.parametrize(
    ("body", "push"),
    [
        (HUB, Push("team/app", "1.4.2", "docker.io", "team/app:1.4.2 1417566161")),
        (GITHUB, Push("team/app", "1.4.2", "ghcr.io")),
        (
            {"action": "updated", "package": GITHUB["registry_package"]},
            Push("team/app", "1.4.2", "ghcr.io"),
        ),
        (
            HARBOR,
            Push(
                "team/app",
                "1.4.2",
                "harbor.example",
                f"harbor.example/team/app:1.4.2 {DIGEST} 1586922308",
            ),
        ),
    ],
)
def test_other_registries_tell_it_in_their_words(body: object, push: Push) -> None:
    assert parse_pushes(body) == [push]


@pytest.mark.parametrize(
    "body",
    [
        distribution("1.0", action="pull"),
        distribution("1.0", action="delete"),
        distribution("not a tag"),
        {**HARBOR, "type": "PULL_ARTIFACT"},
        {**HARBOR, "type": "DELETE_ARTIFACT"},
        {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {}},
        {**HUB, "push_data": {"tag": ""}},
        json.loads(json.dumps(HARBOR).replace(":1.4.2", f"@{DIGEST}").replace("1.4.2", DIGEST)),
        distribution(None),
        {"events": [None, 1, [], {}]},
        {},
        [],
        None,
    ],
)
def test_nothing_else_is_a_push(body: object) -> None:
    assert parse_pushes(body) == []


HEX = "a" * 64
CHART = "application/vnd.cncf.helm.config.v1+json"
SIGNED = "application/vnd.dev.cosign.simplesigning.v1+json"


@pytest.mark.parametrize(
    "tag",
    [
        f"sha256-{HEX}",
        f"sha512-{HEX}",
        f"sha256-{HEX}.sig",
        f"sha256-{HEX}.att",
        f"sha256-{HEX}.sbom",
        f"sha256-{HEX}.1234567890abcdef.spdx",
        f"sha256-{HEX}-meta",
        "1.4.2.sig",
        "1.4.2.att",
        "1.4.2.sbom",
    ],
)
@pytest.mark.parametrize("body", [distribution("TAG"), HUB, GITHUB, HARBOR])
def test_a_tag_of_a_signature_or_referrer_is_no_image(tag: str, body: object) -> None:
    text = json.dumps(body).replace("TAG", "1.4.2").replace("1.4.2", tag)

    [push] = parse_pushes(json.loads(text))

    assert (push.tag, bool(push.artifact)) == (tag, True)


@pytest.mark.parametrize(
    "tag", [f"sha256-{HEX[:-1]}", f"sha256-{HEX}a", "sha256", "1.0-sig", "sig", f"v-sha256-{HEX}"]
)
def test_a_tag_that_only_resembles_one_is_an_image(tag: str) -> None:
    [push] = parse_pushes(distribution(tag))

    assert push.artifact == ""


REFERRERS = [
    CHART,
    SIGNED,
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.in-toto+json",
    "application/spdx+json",
    "application/vnd.cyclonedx+json",
    "application/vnd.cncf.notary.signature",
]


@pytest.mark.parametrize("name", ["mediaType", "media_type", "artifactType", "artifact_type"])
@pytest.mark.parametrize("media_type", REFERRERS)
def test_a_type_of_a_referrer_is_no_image_in_any_notification(name: str, media_type: str) -> None:
    named = {name: media_type}
    [resource] = json.loads(json.dumps(HARBOR["event_data"]))["resources"]
    bodies = [
        distribution("1", target=named),
        {**HUB, "push_data": {"tag": "1", **named}},
        {**HARBOR, "event_data": {"resources": [{**resource, **named}]}},
        github_of(named),
        github_of({"config": named}),
        github_of({"layers": [named]}),
    ]

    for body in bodies:
        [push] = parse_pushes(body)
        assert media_type in push.artifact


def test_a_media_type_of_another_kind_is_no_image() -> None:
    [typed], [referred], [configured], [layered], [plugin] = (
        parse_pushes(body)
        for body in (
            distribution(
                "1", target={"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}
            ),
            distribution("1", target={"references": [{"mediaType": CHART}]}),
            github_of({"config": {"media_type": CHART}}),
            github_of({"layers": [{"media_type": SIGNED}]}),
            distribution("1", target={"artifactType": "application/vnd.docker.plugin.v1+json"}),
        )
    )

    for push in (typed, referred, configured, layered, plugin):
        assert "media type" in push.artifact


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",
        "",
        None,
    ],
)
def test_a_media_type_of_an_image_or_none_is_an_image(media_type: str | None) -> None:
    [push] = parse_pushes(distribution("1", target={"mediaType": media_type}))

    assert push.artifact == ""


def github_of(manifest: dict[str, Any]) -> object:
    body = json.loads(json.dumps(GITHUB))
    version = body["registry_package"]["package_version"]
    version["container_metadata"]["manifest"] = manifest
    return body


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("GHCR.io", "ghcr.io"),
        ("registry.example:5000", "registry.example:5000"),
        ("index.docker.io", "docker.io"),
        ("registry", None),
        ("", None),
    ],
)
def test_the_registry_is_called_as_images_call_it(host: str, expected: str | None) -> None:
    [push] = parse_pushes(distribution("1.0", host=host))

    assert push.registry == expected


@pytest.mark.parametrize(
    ("push", "image", "is_its"),
    [
        (Push("team/app", "1", "ghcr.io"), "ghcr.io/team/app:latest", True),
        (Push("team/app", "1", None), "ghcr.io/team/app", True),
        (Push("team/app", "1", "quay.io"), "ghcr.io/team/app", False),
        (Push("team/app2", "1", "ghcr.io"), "ghcr.io/team/app", False),
        (Push("library/nginx", "1", "docker.io"), "nginx", True),
    ],
)
def test_a_push_is_of_one_repository(push: Push, image: str, is_its: bool) -> None:  # noqa: FBT001
    assert push.is_of(parse_reference(image)) is is_its


@pytest.mark.parametrize(
    ("tag_filter", "tags"),
    [
        ("*", ["1.4.2", "latest", "v1", "V1"]),
        ("v*", ["v1"]),
        ("1.[0-9].*", ["1.4.2"]),
        ("latest", ["latest"]),
        ("lat", []),
    ],
)
def test_a_filter_is_a_glob_over_the_whole_tag(tag_filter: str, tags: list[str]) -> None:
    pushes = [Push("a", tag) for tag in ("1.4.2", "latest", "v1", "V1")]

    assert [push.tag for push in pushes if push.passes(tag_filter)] == tags


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from(
    [
        *("events", "action", "target", "repository", "tag", "request", "host", "id", "type"),
        *("push_data", "repo_name", "pushed_at", "registry_package", "package", "namespace"),
        *("name", "package_version", "container_metadata", "event_data", "resources"),
        *("resource_url", "occur_at", "digest", "mediaType", "references", "manifest", "config"),
    ]
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["push", "PUSH_ARTIFACT", "1.0", "team/app", "ghcr.io"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
)


@given(VALUES)
def test_no_json_is_too_strange(body: object) -> None:
    assert all(isinstance(push, Push) for push in parse_pushes(body))


@given(st.sampled_from([distribution("1.0", "1.1"), HUB, GITHUB, HARBOR]), st.data())
def test_a_push_changed_anywhere_is_still_read_or_ignored(body: Any, data: st.DataObject) -> None:
    changed = json.loads(json.dumps(body))
    inner = changed
    while isinstance(inner, dict | list) and inner:
        keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(inner[key], dict | list):
            inner[key] = data.draw(VALUES)
            break
        inner = inner[key]

    assert isinstance(parse_pushes(changed), list)
