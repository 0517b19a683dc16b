"""AWS ECR: access keys, a role to assume, or the identity of the machine of control."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.credentials.source import Line, Secret, Source
from shared.providers import Provider

_TEMPORARY = re.compile("ASIA[A-Z0-9]+")

AccessKeyId = Annotated[Line, Field(pattern=r"^[A-Z0-9]{16,128}$")]
RoleArn = Annotated[
    Line, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$")
]
ExternalId = Annotated[
    Line, Field(pattern=r"^[A-Za-z0-9_+=,.@:/-]+$", min_length=2, max_length=1224)
]
"""The forms of AWS's own documentation of IAM and of ``AssumeRole``."""


class EcrSource(Source):
    """Access keys, or the identity of control's machine; with ``role_arn`` it assumes this role.

    ``session_token`` belongs to temporary keys, which are not renewed. ``external_id`` is the one
    that the role's trust policy requires. With ``create_repository`` control creates a repository
    that is missing at the first push.
    """

    PROVIDERS: ClassVar = frozenset({Provider.ECR, Provider.ECR_PUBLIC})
    USERNAME: ClassVar = "AWS"

    kind: Literal["ecr"]
    access_key_id: AccessKeyId | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    machine_identity: bool = False
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = None
    create_repository: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        has_keys = self.access_key_id is not None
        if has_keys != (self.secret_access_key is not None):
            raise ValueError("Give accessKeyId and secretAccessKey together")
        if has_keys == self.machine_identity:
            raise ValueError(
                "Give either accessKeyId with secretAccessKey, or machineIdentity: true"
            )
        if self.session_token is not None and not has_keys:
            raise ValueError("sessionToken belongs to accessKeyId and secretAccessKey")
        if _TEMPORARY.fullmatch(self.access_key_id or "") and self.session_token is None:
            raise ValueError("accessKeyId is of temporary keys (ASIA…): give their sessionToken")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("externalId belongs to roleArn")
        return self
