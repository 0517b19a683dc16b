"""The signature policy of an application, or of an organization by default.

It is put into builds, and into the jobs that pull an image for a deployment, when they are stored:
a later change of the policy is for later requests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict

from shared.reference import Reference, parse_reference

MAX_KEYS = 20
MAX_PREDICATE_TYPES = 20
MAX_PREFIXES = 50

Mode = Literal["off", "warn", "enforce"]
"""``warn``: what is missing is a warning of the job. ``enforce``: it fails the job."""


SignatureForm = Literal["tag", "bundle"]
"""Where and how a signed document is stored: ``tag`` under a tag beside the image, as cosign 2 does
it; ``bundle`` as a manifest that refers to the image, as cosign 3 does it."""


class SignaturePolicy(BaseModel):
    """What has to be signed, and by whom.

    One signature by any of ``public_keys`` (PEM) is enough, and one attestation of each of
    ``predicate_types``. Without keys nothing passes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Mode = "enforce"
    public_keys: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()


class PublisherKeys(BaseModel):
    """The keys (PEM) of a publisher, one of which has to sign images below ``prefix``.

    ``prefix`` is a registry's host, or with a path: ``docker.io/library``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    prefix: str
    public_keys: tuple[str, ...]


class BasePolicy(BaseModel):
    """The rules for the base images of builds: from where they may be, and who has to sign them.

    Without ``allowed``, bases may be from everywhere. It contains prefixes as `PublisherKeys` has
    them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Mode
    allowed: tuple[str, ...] = ()
    publishers: tuple[PublisherKeys, ...] = ()

    def allows(self, image: Reference) -> bool:
        return not self.allowed or any(is_below(image, prefix) for prefix in self.allowed)

    def find_signatures(self, image: Reference) -> SignaturePolicy | None:
        """Return what a base has to be signed with; ``None`` if it is no publisher's of ours."""
        publisher = find_publisher(image, self.publishers)
        if publisher is None:
            return None
        return SignaturePolicy(mode=self.mode, public_keys=publisher.public_keys)


class StoredPublisher(BaseModel):
    """A publisher as the row of a policy has it: with the ids of its keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prefix: str
    signing_key_ids: tuple[str, ...]


class StoredPolicy(BaseModel):
    """A policy as its row has it: with the ids of the keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Mode = "off"
    signing_key_ids: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()
    base_registries: tuple[str, ...] = ()
    publishers: tuple[StoredPublisher, ...] = ()

    @property
    def all_key_ids(self) -> frozenset[str]:
        return frozenset(self.signing_key_ids).union(
            *(one.signing_key_ids for one in self.publishers)
        )

    def open_publishers(self, keys: Mapping[str, str]) -> tuple[PublisherKeys, ...]:
        return tuple(
            PublisherKeys(prefix=one.prefix, public_keys=_choose(keys, one.signing_key_ids))
            for one in self.publishers
        )

    def for_image(self, ready: Reference | None, keys: Mapping[str, str]) -> SignaturePolicy | None:
        """Return what an application's image has to be signed with; ``None`` for nothing.

        The ``ready`` image of a publisher has to be signed by that publisher, and nothing else.
        """
        publishers = self.open_publishers(keys)
        if ready is not None and (publisher := find_publisher(ready, publishers)):
            return SignaturePolicy(mode=self.mode, public_keys=publisher.public_keys)
        if not (self.signing_key_ids or self.predicate_types):
            return None
        return SignaturePolicy(
            mode=self.mode,
            public_keys=_choose(keys, self.signing_key_ids),
            predicate_types=self.predicate_types,
        )


FIND = """
SELECT p.policy, CASE a.source_type WHEN 'docker' THEN a.docker_image END AS image,
       (SELECT coalesce(jsonb_object_agg(k.signing_key_id, k.public_key), '{}')
          FROM signing_key k WHERE k.organization_id = a.organization_id) AS keys
  FROM application a JOIN organization o USING (organization_id)
 CROSS JOIN LATERAL (
   SELECT coalesce(a.signature_policy, o.signature_policy) AS policy) p
 WHERE a.application_id = %s AND p.policy->>'mode' <> 'off'
"""


@dataclass(frozen=True)
class _Found:
    stored: StoredPolicy
    ready: Reference | None
    keys: Mapping[str, str]


async def find_policy(
    connection: AsyncConnection[Any], application_id: str
) -> SignaturePolicy | None:
    """Return the policy for an application's images; ``None`` if it asks for no signature."""
    found = await _find(connection, application_id)
    return found.stored.for_image(found.ready, found.keys) if found else None


async def find_base_policy(
    connection: AsyncConnection[Any], application_id: str
) -> BasePolicy | None:
    """Return the policy for the bases of an application's builds; ``None`` if there is none."""
    found = await _find(connection, application_id)
    if found is None or not (found.stored.base_registries or found.stored.publishers):
        return None
    return BasePolicy(
        mode=found.stored.mode,
        allowed=found.stored.base_registries,
        publishers=found.stored.open_publishers(found.keys),
    )


def find_publisher(image: Reference, publishers: Iterable[PublisherKeys]) -> PublisherKeys | None:
    """Return the publisher of an image: that with the longest prefix that fits."""
    fitting = [one for one in publishers if is_below(image, one.prefix)]
    return max(fitting, key=lambda one: len(one.prefix), default=None)


def is_below(image: Reference, prefix: str) -> bool:
    """Return whether an image is in this registry, or below this path of it."""
    return image.name == prefix or image.name.startswith(f"{prefix.rstrip('/')}/")


async def _find(connection: AsyncConnection[Any], application_id: str) -> _Found | None:
    row = await (await connection.execute(FIND, (application_id,))).fetchone()
    if row is None:
        return None
    policy, image, keys = (
        (row["policy"], row["image"], row["keys"]) if isinstance(row, dict) else row
    )
    ready = parse_reference(image) if image else None
    return _Found(StoredPolicy.model_validate(policy), ready, keys)


def _choose(keys: Mapping[str, str], key_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(keys[each] for each in sorted(key_ids) if each in keys)
