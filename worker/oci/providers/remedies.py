"""Remedies in the terms of a registry's provider: its roles, its tokens, its settings.

A provider answers many causes alike. Where its own words tell them apart, a rule with a recorded
message decides; the words themselves are never shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.faults import FaultCode
from shared.providers import Provider, recognise

MAX_READ_CHARACTERS = 8192

_ABAC = (
    "If the registry's role assignment mode has ABAC repository permissions, AcrPull, AcrPush and "
    "AcrDelete are not honoured there: assign Container Registry Repository "
)
_LOCATIONS = {"us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}
_GCR_REMEDY = (
    "Container Registry has ended: {0} is now a repository of Artifact Registry, which the project "
    "has to have. Create it (gcloud artifacts repositories create {0} --repository-format=docker "
    "--location={1}), or give the service account the role "
    "roles/artifactregistry.createOnPushWriter."
)


@dataclass(frozen=True)
class WordRule:
    """A pattern of a provider's words, the remedy that it decides on, and an example."""

    provider: Provider
    pattern: str
    remedy: str
    example: str


WORD_RULES = (
    WordRule(
        Provider.GHCR,
        r"SAML|single sign-on|\bSSO\b",
        "The organization enforces SAML single sign-on: authorize the token for it (GitHub: "
        "Settings, Developer settings, Tokens (classic), Configure SSO).",
        "Resource protected by organization SAML enforcement. You must grant your Personal Access "
        "token access to this organization.",
    ),
    WordRule(
        Provider.GHCR,
        r"expected scopes",
        "The token lacks a scope. It needs read:packages to pull, write:packages to push and "
        "delete:packages to delete; only classic tokens have these scopes.",
        "permission_denied: The token provided does not match expected scopes.",
    ),
    WordRule(
        Provider.GHCR,
        r"installation not allowed to",
        "The token of the workflow may not write packages: give the workflow the permission "
        "packages: write, or use a classic token.",
        "installation not allowed to Create organization package",
    ),
)

REMEDIES: Mapping[Provider, Mapping[FaultCode, str]] = {
    Provider.DOCKER_HUB: {
        FaultCode.AUTH_BAD_CREDENTIALS: "Check the Docker ID and the access token: it may be "
        "deactivated or expired. With single sign-on a password is not accepted. The username of "
        "an organization access token is the organization's name.",
        FaultCode.PULL_DENIED: "Check the name, and that the account may read the repository: "
        "Docker Hub answers the same if it does not exist.",
        FaultCode.PUSH_DENIED: "Check that the access token has the permission Read & Write, and "
        "that the account may write to this namespace.",
    },
    Provider.GHCR: {
        FaultCode.AUTH_BAD_CREDENTIALS: "Use a classic personal access token (ghp_…) that is not "
        "expired or revoked; the username is its owner's.",
        FaultCode.PULL_DENIED: "Give the classic token the scope read:packages, and its owner "
        "access to the package. If the organization enforces SSO, authorize the token for it.",
        FaultCode.PUSH_DENIED: "Give the classic token the scope write:packages, and its owner "
        "write access to the package. If the organization enforces SSO, authorize the token for "
        "it.",
    },
    Provider.ECR: {
        FaultCode.PULL_DENIED: "Allow the identity ecr:BatchGetImage, "
        "ecr:GetDownloadUrlForLayer and ecr:BatchCheckLayerAvailability for this repository.",
        FaultCode.PUSH_DENIED: "Allow the identity ecr:InitiateLayerUpload, ecr:UploadLayerPart, "
        "ecr:CompleteLayerUpload and ecr:PutImage for this repository.",
        FaultCode.REPO_MISSING: "Create the repository first: aws ecr create-repository "
        "--repository-name NAME. Or let wharf control create it at the first push: "
        "createRepository: true in the registry's credential.",
    },
    Provider.GOOGLE: {
        FaultCode.AUTH_BAD_CREDENTIALS: "Check that the service account and its key exist and are "
        "not disabled. An access token (oauth2accesstoken) expires after an hour.",
        FaultCode.PULL_DENIED: "Give the service account the role roles/artifactregistry.reader "
        "for the repository, and check the image's path: HOST/PROJECT/REPOSITORY/IMAGE.",
        FaultCode.PUSH_DENIED: "Give the service account the role roles/artifactregistry.writer "
        "for the repository.",
        FaultCode.REPO_MISSING: "Create the repository in Artifact Registry first. An image's path "
        "is HOST/PROJECT/REPOSITORY/IMAGE.",
    },
    Provider.ACR: {
        FaultCode.AUTH_BAD_CREDENTIALS: "Check which login it is: the admin user has to be "
        "enabled, a token's password and a service principal's secret expire.",
        FaultCode.PULL_DENIED: "Give the identity the role AcrPull, or the token the scope map's "
        f"content/read. {_ABAC}Reader.",
        FaultCode.PUSH_DENIED: "Give the identity the role AcrPush, or the token the scope map's "
        f"content/write. {_ABAC}Writer.",
        FaultCode.BLOCKED_BY_PROXY: "Allow this server's address in the registry's networking "
        "settings, or use its private endpoint.",
    },
    Provider.QUAY: {
        FaultCode.PUSH_DENIED: "Give the robot account (organization+name) the permission Write.",
        FaultCode.PULL_DENIED: "Give the robot account (organization+name) the permission Read.",
    },
    Provider.GITLAB: {
        FaultCode.PUSH_DENIED: "Give the deploy token the scope write_registry.",
        FaultCode.PULL_DENIED: "Give the deploy token the scope read_registry.",
    },
    Provider.SCALEWAY: {
        FaultCode.AUTH_BAD_CREDENTIALS: "The username is nologin, the password a secret key.",
    },
    Provider.ORACLE: {
        FaultCode.AUTH_BAD_CREDENTIALS: "The username is NAMESPACE/USER, the password an auth "
        "token.",
    },
}


def find_remedy(registry: str, code: FaultCode, words: bytes = b"") -> str:
    """Return what to do about a refusal of a registry; empty if its provider has no own terms.

    ``registry`` is its canonical name, ``words`` the body of its answer.
    """
    provider = recognise(registry)
    text = words[:MAX_READ_CHARACTERS].decode(errors="replace")
    for rule in WORD_RULES:
        if rule.provider is provider and re.search(rule.pattern, text, re.IGNORECASE):
            return rule.remedy
    if code is FaultCode.REPO_MISSING and registry.endswith("gcr.io"):
        return _GCR_REMEDY.format(registry, _LOCATIONS.get(registry, "us"))
    return REMEDIES.get(provider, {}).get(code, "")
