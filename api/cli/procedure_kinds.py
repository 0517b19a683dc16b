"""The kinds of the procedures of the API, for calls by name.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

QUERIES = frozenset(
    {
        "apiKey.all",
        "application.all",
        "application.one",
        "application.readLogs",
        "application.search",
        "auditLog.all",
        "build.all",
        "build.one",
        "deployHook.all",
        "deployment.all",
        "deployment.allByServer",
        "deployment.allByType",
        "deployment.allCentralized",
        "deployment.one",
        "deployment.queueList",
        "deployment.readLogs",
        "environment.byProjectId",
        "environment.one",
        "image.inspect",
        "image.repositories",
        "image.tags",
        "job.all",
        "job.events",
        "job.one",
        "job.statistics",
        "organization.allInvitations",
        "organization.settings",
        "project.all",
        "project.one",
        "registry.all",
        "registry.matrix",
        "registry.one",
        "restore.one",
        "rollback.all",
        "server.all",
        "server.buildServers",
        "server.count",
        "server.isRemoved",
        "server.one",
        "server.validate",
        "settings.getDokployVersion",
        "settings.health",
        "settings.isCloud",
        "user.all",
        "user.get",
        "webhook.all",
        "webhook.deliveries",
        "webhook.one",
    }
)
"""Procedures that change nothing, and are called by GET."""

SUBMITTING = frozenset(
    {
        "application.build",
        "application.deploy",
        "application.redeploy",
        "application.reload",
        "application.start",
        "application.stop",
        "compose.pull",
        "image.copy",
        "image.pull",
        "image.push",
        "image.tag",
        "job.retry",
        "registry.diagnose",
        "registry.rotate",
        "registry.testRegistry",
        "registry.testRegistryById",
        "rollback.rollback",
        "server.check",
    }
)
"""Procedures that submit work, and take an ``Idempotency-Key``."""
