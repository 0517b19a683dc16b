"""All procedures: an explicit list, in the order of the documentation."""

from typing import Any

from api.accounts import api_keys as api_key
from api.accounts import audit_export, audit_log, invitations, members, password_resets
from api.accounts import organizations as organization
from api.accounts import users as user
from api.applications import (
    build_settings as application_build,
)
from api.applications import (
    deploy_keys as application_key,
)
from api.applications import (
    procedures as application,
)
from api.applications import (
    sources as application_source,
)
from api.builds import procedures as build
from api.compose import procedures as compose
from api.deploy_hooks import procedures as deploy_hook
from api.deployments import application_logs, deploy
from api.deployments import control as application_control
from api.deployments import logs as deployment_logs
from api.deployments import procedures as deployment
from api.dokploy import applications as dokploy_application
from api.dokploy import deployments as dokploy_deployment
from api.dokploy import installation, keys, projects
from api.images import contents as image_contents
from api.images import procedures as image
from api.images import retry as job_retry
from api.jobs import procedures as job
from api.jobs import statistics as job_statistics
from api.operations import restore
from api.procedure.procedure import Procedure
from api.registries import diagnosis, matrix
from api.registries import procedures as registry
from api.registries import rotation as registry_rotation
from api.rollbacks import procedures as rollback
from api.scans import policies as scan_policy
from api.scans import reports as scan
from api.scans import search as sbom_search
from api.servers import (
    enrolment,
)
from api.servers import (
    path_check as server_path,
)
from api.servers import (
    procedures as server,
)
from api.servers import (
    validation as server_check,
)
from api.signatures import keys as signing_key
from api.signatures import policies as signature_policy
from api.signatures import procedures as signature
from api.webhooks import deliveries as webhook_delivery
from api.webhooks import procedures as webhook

MODULES = (
    *(registry, registry_rotation, diagnosis, matrix, server, server_check, server_path, enrolment),
    *(application, application_source, application_key, application_build, build),
    *(deploy, application_control, application_logs),
    *(deployment, deployment_logs, rollback, deploy_hook),
    *(image, image_contents, compose, job, job_retry, job_statistics),
    *(webhook, webhook_delivery, organization, api_key),
    *(signing_key, signature_policy, signature),
    *(scan_policy, scan, sbom_search),
    *(user, members, password_resets, invitations, audit_log, audit_export, restore),
    *(dokploy_application, dokploy_deployment, projects, installation, keys),
)

PROCEDURES: dict[str, Procedure[Any, Any]] = {
    procedure.name: procedure for module in MODULES for procedure in module.PROCEDURES
}
