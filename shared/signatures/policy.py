"""The signature policy of an application, or of an organization by default.

It is put into the jobs that pull an image for a deployment when they are stored: a later change of
the policy is for later requests.
"""

from typing import Any, Literal

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict

MAX_KEYS = 20
MAX_PREDICATE_TYPES = 20

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


class StoredPolicy(BaseModel):
    """A policy as its row has it: with the ids of the keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Mode = "off"
    signing_key_ids: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()


FIND = """
SELECT p.policy, ARRAY(SELECT k.public_key FROM signing_key k
                        WHERE k.organization_id = a.organization_id
                          AND p.policy->'signing_key_ids' ? k.signing_key_id
                        ORDER BY k.signing_key_id) AS keys
  FROM application a JOIN organization o USING (organization_id)
 CROSS JOIN LATERAL (
   SELECT coalesce(a.signature_policy, o.signature_policy) AS policy) p
 WHERE a.application_id = %s AND p.policy->>'mode' <> 'off'
"""


async def find_policy(
    connection: AsyncConnection[Any], application_id: str
) -> SignaturePolicy | None:
    """Return the policy for an application's images; ``None`` if it is off."""
    row = await (await connection.execute(FIND, (application_id,))).fetchone()
    if row is None:
        return None
    stored, keys = (row["policy"], row["keys"]) if isinstance(row, dict) else row
    policy = StoredPolicy.model_validate(stored)
    return SignaturePolicy(
        mode=policy.mode, public_keys=tuple(keys), predicate_types=policy.predicate_types
    )
