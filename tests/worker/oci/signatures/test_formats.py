"""What each format of a signed document states, and what is refused to be one."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CredentialError, InvalidInputError
from shared.faults import FaultCode
from shared.signatures.keys import PublicKey, SigningKey
from worker.oci.signatures.bundle import make_bundle, make_hint, parse_bundle
from worker.oci.signatures.documents import SIGNATURE, Form, SignedDocument, Statement
from worker.oci.signatures.dsse import encode_for_signing, parse_envelope, parse_statement
from worker.oci.signatures.simple_signing import make_payload, parse_payload
from worker.oci.signatures.verification import Requirements, verify

DIGEST = f"sha256:{'1' * 64}"
OTHER = f"sha256:{'2' * 64}"
SPDX = "https://spdx.dev/Document"
KEY = SigningKey.generate()
NAME = "registry.example.com/team/app"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("kinds", "code", "wanted"),
    [
        (frozenset[str](), FaultCode.SIGNATURE_MISSING, "no signature of"),
        (frozenset({SPDX}), FaultCode.ATTESTATION_MISSING, f"no signature or {SPDX} of"),
    ],
)
def test_without_keys_nothing_counts_and_the_message_says_so(
    kinds: frozenset[str], code: FaultCode, wanted: str
) -> None:
    [violation] = verify(DIGEST, [tag_signature()], Requirements((), kinds)).violations

    assert violation.code == code
    assert wanted in violation.message and "names no signing key" in violation.message


def tag_signature(digest: str = DIGEST, key: SigningKey = KEY, name: str = NAME) -> SignedDocument:
    payload = make_payload(name, digest)
    statement = parse_payload(payload)
    assert statement
    return SignedDocument(Form.TAG, statement, payload, (key.sign(payload),))


def bundled(digest: str = DIGEST, key: SigningKey = KEY, kind: str = SIGNATURE) -> SignedDocument:
    document = parse_bundle(make_bundle(digest, kind, {}, key))
    assert document
    return document


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def codes(*documents: SignedDocument, required: Requirements | None = None) -> list[FaultCode]:
    verdict = verify(DIGEST, documents, required or Requirements((KEY.public,)))
    return [violation.code for violation in verdict.violations]


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_content_breaks_a_parser(content: bytes) -> None:
    for document in (
        parse_bundle(content),
        parse_envelope(content, Form.TAG),
        parse_statement(content),
        parse_payload(content),
    ):
        assert document is None


def test_the_encoding_for_signing_is_that_of_the_specification() -> None:
    assert encode_for_signing("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("document", [tag_signature(), bundled()])
def test_a_signature_by_a_given_key_is_proved(document: SignedDocument) -> None:
    assert codes(document) == []


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], FaultCode.SIGNATURE_MISSING),
        ([bundled(kind=SPDX)], FaultCode.SIGNATURE_MISSING),
        ([tag_signature(key=SigningKey.generate())], FaultCode.SIGNATURE_UNTRUSTED),
        ([bundled(key=SigningKey.generate())], FaultCode.SIGNATURE_UNTRUSTED),
        ([tag_signature(OTHER)], FaultCode.SIGNATURE_INVALID),
        ([bundled(OTHER)], FaultCode.SIGNATURE_INVALID),
        ([bundled(OTHER, SigningKey.generate())], FaultCode.SIGNATURE_INVALID),
    ],
    ids=[
        "none",
        "only an SBOM",
        "tag, other key",
        "bundle, other key",
        "tag, other image",
        "bundle, other image",
        "other image, other key",
    ],
)
def test_what_proves_nothing_has_its_code(
    documents: list[SignedDocument], expected: FaultCode
) -> None:
    assert codes(*documents) == [expected]


@given(st.integers(min_value=0, max_value=69), st.integers(min_value=1, max_value=255))
def test_a_changed_signature_or_statement_is_never_proved(position: int, change: int) -> None:
    good = bundled()
    signature = bytearray(good.signatures[0])
    signature[position % len(signature)] ^= change
    content = bytearray(good.content)
    content[position % len(content)] ^= change

    for one in (
        SignedDocument(Form.BUNDLE, good.statement, good.content, (bytes(signature),)),
        SignedDocument(Form.BUNDLE, good.statement, bytes(content), good.signatures),
    ):
        assert codes(one) == [FaultCode.SIGNATURE_UNTRUSTED]


def test_a_bundle_that_names_a_given_key_but_was_not_made_by_it_is_invalid() -> None:
    forged = json.loads(make_bundle(DIGEST, SIGNATURE, {}, SigningKey.generate()))
    forged["verificationMaterial"]["publicKey"]["hint"] = make_hint(KEY.public)
    document = parse_bundle(json.dumps(forged).encode())

    assert document and document.signer == KEY.public.fingerprint
    assert codes(document) == [FaultCode.SIGNATURE_INVALID]


def test_a_signature_for_another_repository_counts_only_where_its_name_is_accepted() -> None:
    document = tag_signature(name="registry.example.com/other/app")
    strict = Requirements((KEY.public,), repositories=frozenset({NAME}))
    moved = Requirements(
        (KEY.public,), repositories=frozenset({NAME, "registry.example.com/other/app"})
    )

    assert codes(document, required=strict) == [FaultCode.SIGNATURE_INVALID]
    assert codes(document, required=moved) == []
    assert codes(bundled(), required=strict) == [], "a bundle names no repository"


def test_each_required_attestation_is_missed_by_its_type() -> None:
    required = Requirements((KEY.public,), frozenset({SPDX, "https://slsa.dev/provenance/v1"}))

    verdict = verify(DIGEST, [bundled(), bundled(kind=SPDX)], required)

    assert [one.code for one in verdict.violations] == [FaultCode.ATTESTATION_MISSING]
    assert "https://slsa.dev/provenance/v1" in verdict.violations[0].message


def test_a_signature_over_the_manifest_itself_is_proved() -> None:
    content = b'{"schemaVersion":2}'
    signature = KEY.sign(content)
    hashed = hashlib.sha256(content)
    digest = f"sha256:{hashed.hexdigest()}"
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": encode(hashed.digest())},
            "signature": encode(signature),
        },
    }
    document = parse_bundle(json.dumps(bundle).encode())

    assert document
    assert verify(digest, [document], Requirements((KEY.public,))).violations == ()
    assert verify(DIGEST, [document], Requirements((KEY.public,))).violations


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_a_public_key_is_read_back_from_its_text(key: Any) -> None:
    public = PublicKey.of(key.public_key())

    assert PublicKey.parse(public.pem).fingerprint == public.fingerprint
    assert not public.has_signed(b"content", b"no signature")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "x" * 20_001,
        KEY.pem,
    ],
    ids=["empty", "malformed", "too long", "a private key"],
)
def test_what_is_no_public_key_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        PublicKey.parse(text)

    assert not text or text[30:60] not in str(caught.value)


def test_a_weak_or_unusual_public_key_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - it is to be refused
    with pytest.raises(InvalidInputError):
        PublicKey.of(weak)


def test_a_signing_key_is_read_back_and_never_shown() -> None:
    assert SigningKey.parse(KEY.pem).public == KEY.public
    assert "PRIVATE" not in repr(KEY)
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for text in ("", other.decode()):
        with pytest.raises(CredentialError):
            SigningKey.parse(text)


def test_a_statement_may_have_several_subjects() -> None:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": one * 64}} for one in "12"] + [{"digest": {"sha1": "3"}}],
        "predicateType": SPDX,
        "predicate": {},
    }

    assert parse_statement(json.dumps(statement).encode()) == Statement(
        frozenset({DIGEST, OTHER}), SPDX
    )
