"""The tables, as SQLModel classes; invariants are constraints of the schema."""

from sqlmodel import SQLModel

from shared.models.accounts.audit import (
    AuditChain,
    AuditCheckpoint,
    AuditEvent,
    AuditForwarded,
    AuditKey,
    AuditSegment,
)
from shared.models.accounts.organization import ApiKey, Organization
from shared.models.accounts.signing_key import SigningKey
from shared.models.accounts.user import (
    Invitation,
    Member,
    PasswordReset,
    SignInProvider,
    User,
    UserSession,
)
from shared.models.application import Application, ApplicationServer
from shared.models.build import Build
from shared.models.context import BuildContext, ContextToken
from shared.models.deploy_hook import DeployHook, DeployHookEvent
from shared.models.deployment import Deployment, DeploymentServer
from shared.models.idempotency import Idempotency
from shared.models.job import (
    ApplicationTurn,
    DigestCheck,
    DigestOutcome,
    Job,
    JobAttempt,
    JobEvent,
    JobNeed,
    JobSecret,
)
from shared.models.registry import (
    CredentialNotice,
    CredentialSource,
    LoginUse,
    Registry,
    RegistryCheck,
    RegistryQuota,
)
from shared.models.rollback import Rollback
from shared.models.rotation import Rotation, RotationState
from shared.models.scan import ImagePackage, ImageReport
from shared.models.server import (
    Control,
    DatabaseEpoch,
    ReleaseGate,
    Server,
    ServerEnrolment,
    ServerToken,
    SetAside,
)
from shared.models.statistics import EndedJob, JobCount, JobDuration
from shared.models.webhook import Webhook, WebhookDelivery

METADATA = SQLModel.metadata

__all__ = [
    "METADATA",
    "ApiKey",
    "Application",
    "ApplicationServer",
    "ApplicationTurn",
    "AuditChain",
    "AuditCheckpoint",
    "AuditEvent",
    "AuditForwarded",
    "AuditKey",
    "AuditSegment",
    "Build",
    "BuildContext",
    "ContextToken",
    "Control",
    "CredentialNotice",
    "CredentialSource",
    "DatabaseEpoch",
    "DeployHook",
    "DeployHookEvent",
    "Deployment",
    "DeploymentServer",
    "DigestCheck",
    "DigestOutcome",
    "EndedJob",
    "Idempotency",
    "ImagePackage",
    "ImageReport",
    "Invitation",
    "Job",
    "JobAttempt",
    "JobCount",
    "JobDuration",
    "JobEvent",
    "JobNeed",
    "JobSecret",
    "LoginUse",
    "Member",
    "Organization",
    "PasswordReset",
    "Registry",
    "RegistryCheck",
    "RegistryQuota",
    "ReleaseGate",
    "Rollback",
    "Rotation",
    "RotationState",
    "Server",
    "ServerEnrolment",
    "ServerToken",
    "SetAside",
    "SignInProvider",
    "SigningKey",
    "User",
    "UserSession",
    "Webhook",
    "WebhookDelivery",
]
