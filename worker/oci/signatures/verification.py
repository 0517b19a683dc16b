"""Decide what the signed documents beside an image prove. Pure functions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.faults import FaultCode
from shared.signatures.keys import PublicKey
from worker.oci.signatures.documents import SIGNATURE, Form, SignedDocument


@dataclass(frozen=True)
class Requirements:
    """What has to be proved about an image.

    One signature by any of ``keys`` is enough, and one for each of ``predicate_types`` (such as
    ``https://spdx.dev/Document``). ``repositories`` are the names under which the image may have
    been signed, with their hosts; a document that names another one does not count. If it is empty,
    every name counts.
    """

    keys: tuple[PublicKey, ...]
    predicate_types: frozenset[str] = frozenset()
    repositories: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Proof:
    """A document about the image that one of the keys has signed."""

    predicate_type: str
    fingerprint: str
    form: Form


@dataclass(frozen=True)
class Violation:
    """A requirement that is not met: a code, and a sentence that names key and digest."""

    code: FaultCode
    message: str


@dataclass(frozen=True)
class Verdict:
    """What is proved, and what is missing: ``violations`` is empty if all is proved."""

    proofs: tuple[Proof, ...]
    violations: tuple[Violation, ...]


def verify(digest: str, documents: Iterable[SignedDocument], required: Requirements) -> Verdict:
    """Compare the documents beside an image with the requirements."""
    if not required.keys:
        return Verdict((), (_explain_no_keys(digest, required),))
    found = tuple(documents)
    proofs = tuple(_find_proofs(digest, found, required))
    proved = {one.predicate_type for one in proofs}
    violations: list[Violation] = []
    if SIGNATURE not in proved:
        violations.append(_explain_signature(digest, found, required))
    violations += [
        Violation(
            FaultCode.ATTESTATION_MISSING,
            f"{digest} has no attestation of type {kind} by {_name_keys(required)}",
        )
        for kind in sorted(required.predicate_types - proved)
    ]
    return Verdict(proofs, tuple(violations))


def _find_proofs(
    digest: str, documents: tuple[SignedDocument, ...], required: Requirements
) -> Iterator[Proof]:
    for one in documents:
        if digest not in one.statement.subjects or not _has_right_name(one, required):
            continue
        for key in required.keys:
            if _has_signed(key, one):
                yield Proof(one.statement.predicate_type, key.fingerprint, one.form)


def _has_signed(key: PublicKey, document: SignedDocument) -> bool:
    check = key.has_signed_digest if document.is_prehashed else key.has_signed
    return any(check(document.content, signature) for signature in document.signatures)


def _has_right_name(document: SignedDocument, required: Requirements) -> bool:
    name = document.statement.repository
    return not name or not required.repositories or name in required.repositories


def _explain_signature(
    digest: str, documents: tuple[SignedDocument, ...], required: Requirements
) -> Violation:
    """Return why no signature counts, the most alarming reason first."""
    signatures = [one for one in documents if one.statement.is_signature]
    trusted = {key.fingerprint for key in required.keys}
    by_a_key = [(one, key) for one in signatures for key in required.keys if _has_signed(key, one)]
    for one, key in by_a_key:
        if digest not in one.statement.subjects:
            subject = min(one.statement.subjects)
            return _invalid(f"a signature by {key.fingerprint} beside {digest} is for {subject}")
        return _invalid(
            f"the signature of {digest} by {key.fingerprint} is for the image "
            f"{one.statement.repository}"
        )
    for one in signatures:
        if one.signer in trusted:
            return _invalid(f"a signature of {digest} was not made by {one.signer}, which it names")
    if any(digest in one.statement.subjects for one in signatures):
        return Violation(
            FaultCode.SIGNATURE_UNTRUSTED,
            f"{digest} is signed, but not by {_name_keys(required)}",
        )
    if signatures:
        return _invalid(f"the signatures beside {digest} are for other images")
    return Violation(
        FaultCode.SIGNATURE_MISSING, f"{digest} has no signature by {_name_keys(required)}"
    )


def _explain_no_keys(digest: str, required: Requirements) -> Violation:
    wanted = " or ".join(["signature", *sorted(required.predicate_types)])
    code = (
        FaultCode.ATTESTATION_MISSING if required.predicate_types else FaultCode.SIGNATURE_MISSING
    )
    return Violation(
        code, f"no {wanted} of {digest} can count, because the policy names no signing key"
    )


def _invalid(message: str) -> Violation:
    return Violation(FaultCode.SIGNATURE_INVALID, message)


def _name_keys(required: Requirements) -> str:
    return " or ".join(key.fingerprint for key in required.keys)
