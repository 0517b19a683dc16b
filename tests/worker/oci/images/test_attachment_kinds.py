"""The kind of what belongs to an image, from any manifest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.oci.images.test_contents import json_values, manifest
from worker.oci.images.attached_manifests import Attachment
from worker.oci.images.attachment_kinds import (
    find_artifact_type,
    find_kind,
    find_kind_of_type,
    find_statement_kinds,
)

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "dev.sigstore.bundle.predicateType"
KINDS = {"signature", "attestation", "sbom", "other"}
KEYS = ("artifactType", "annotations", "config", "layers")


@given(json_values | st.binary(max_size=20), st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_manifest_has_a_kind(content: object, parts: dict[str, object]) -> None:
    for document in (content, parts):
        found = manifest(document)

        assert find_kind(Attachment("sha256:a", found)) in KINDS
        assert set(find_statement_kinds(found)) <= KINDS
        assert isinstance(find_artifact_type(found), str)


@pytest.mark.parametrize(
    ("artifact_type", "predicate", "kind"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "", "signature"),
        ("application/vnd.cncf.notary.signature", "", "signature"),
        (BUNDLE, "", "signature"),
        (BUNDLE, "https://sigstore.dev/cosign/sign/v1", "signature"),
        (BUNDLE, "https://slsa.dev/provenance/v1", "attestation"),
        (BUNDLE, "https://spdx.dev/Document", "sbom"),
        ("application/vnd.in-toto+json", "", "attestation"),
        ("application/vnd.cyclonedx+json", "", "sbom"),
        ("text/spdx", "", "sbom"),
        ("application/vnd.example.anything", "", "other"),
        ("", "", "other"),
    ],
)
def test_the_kind_follows_from_the_type(artifact_type: str, predicate: str, kind: str) -> None:
    annotations = {PREDICATE: predicate} if predicate else {}
    document = {"artifactType": artifact_type, "annotations": annotations}

    assert find_kind_of_type(artifact_type, annotations) == kind
    assert find_kind(Attachment("sha256:a", manifest(document))) == kind


@pytest.mark.parametrize(
    ("ending", "kind"), [("sig", "signature"), ("att", "attestation"), ("sbom", "sbom")]
)
def test_the_kind_of_a_tag_of_cosign_is_its_ending(ending: str, kind: str) -> None:
    found = manifest(json.dumps({"artifactType": "text/spdx"}).encode())

    assert find_kind(Attachment("sha256:a", found, f"sha256-a.{ending}")) == kind


def test_a_build_s_attestation_is_of_each_kind_that_its_statements_are() -> None:
    predicates = ("https://slsa.dev/provenance/v0.2", "https://spdx.dev/Document")
    layers = [{"annotations": {"in-toto.io/predicate-type": one}} for one in predicates]

    assert find_statement_kinds(manifest({"layers": layers})) == ("attestation", "sbom")
