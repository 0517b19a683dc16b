"""Dokploy's published procedures: which work here, which differ, and why others are not offered.

``published.txt`` has the names of Dokploy 0.30.7, as its command line and its MCP server have them:
name, kind, and ``works``, ``differs`` or the key of a reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from api.errors import NotOfferedError

FILE = Path(__file__).with_suffix(".txt")
WORKS, DIFFERS = "works", "differs"

REASONS: Mapping[str, str] = {
    "accounts": "accounts, sessions and organizations are managed in the console",
    "backups": "Wharfinger makes no backups of applications' data",
    "compose": "compose projects are not stored; compose.pull pulls and pins their images",
    "containers": "Wharfinger manages what it deploys, not other objects of an Engine; use docker",
    "databases": "Wharfinger runs no databases",
    "deploy_keys": "an application has a deploy key of its own; see application.generateDeployKey",
    "dokploy": "this is a setting of Dokploy's own server",
    "git": "git hosts are not connected; give the URL with application.saveGitProvider",
    "hooks": "deployments on a push need a deploy hook; see deployHook.create",
    "limits": "a server runs as many jobs at once as its worker allows",
    "monitoring": "Wharfinger has metrics of its own at /metrics",
    "notifications": "messages are sent by webhooks; see webhook.create",
    "patches": "sources are built as they are",
    "previews": "there are no preview deployments",
    "projects": "an organization has one project and one environment",
    "proxies": "Wharfinger has no domains, certificates and proxies; publish ports",
    "queues": "cancel waiting deployments with deployment.cancel",
    "records": "the records of deployments stay",
    "run_settings": "ports and mounts are settings of application.update",
    "schedules": "Wharfinger runs no scheduled commands",
    "ssh": "servers are joined by their worker, not by SSH; see server.createJoinToken",
    "states": "a state follows from the deployments, it is not set",
    "swarm": "nodes of a Swarm are managed with docker",
    "templates": "there are no templates",
    "uploads": "an upload is sent to application.uploadContext",
    "vaults": "secrets are sealed in the database; no vault is connected",
}
DIFFERENCES: Mapping[str, str] = {
    "application.cancelDeployment": "answers the cancelled deployments",
    "application.delete": "as application.remove: what runs keeps running",
    "application.deploy": "answers the stored deployment",
    "application.killBuild": "as application.cancelDeployment, and of this application only",
    "application.readLogs": "has all tasks and servers; values of variables are masked",
    "application.redeploy": "deploys the newest image again, without a build",
    "application.reload": "starts the same container or service anew; answers the application",
    "application.saveBuildType": "buildType is dockerfile",
    "application.saveDockerProvider": "takes no login; store it with registry.create",
    "application.saveGitProvider": "takes a login of the application's own, not customGitSSHKeyId",
    "application.search": "finds by name, appName, description and image",
    "application.start": "answers the application with the job of each server",
    "application.stop": "answers the application with the job of each server",
    "application.update": "answers the application with warnings if a field is not stored",
    "auditLog.all": "has filters and pages of its own",
    "deployment.all": "has waiting deployments too; no logPath",
    "deployment.allByServer": "has waiting deployments too; no logPath",
    "deployment.allByType": "has those of applications and servers; there are no others",
    "deployment.allCentralized": "has the newest 100",
    "deployment.killProcess": "as deployment.cancel",
    "deployment.queueList": "ids are those of deployments",
    "environment.byProjectId": "there is one environment",
    "environment.one": "there is one environment",
    "organization.inviteMember": "answers a link; no e-mail is sent",
    "project.all": "there is one project, with one environment",
    "project.one": "there is one project, with one environment",
    "registry.all": "without passwords",
    "registry.create": "stores without a login on a host; without the password in its answer",
    "registry.remove": "refused while an application uses it",
    "rollback.delete": "deletes the image's bytes too, if nothing else needs them",
    "rollback.rollback": "answers the deployment that rolls back",
    "server.create": "answers a token with which the server's worker joins",
    "server.update": "changes the name, the description, the shown address and the roles",
    "server.validate": "answers what the worker reports of the Engine",
    "settings.getDokployVersion": "answers the version of Dokploy whose clients are supported",
    "user.createApiKey": "the key has the role of its maker; no limits of its own",
    "user.get": "a key is a user",
}


@dataclass(frozen=True)
class Published:
    """A published procedure; ``verdict`` is `WORKS`, `DIFFERS` or the key of a reason."""

    name: str
    kind: str
    verdict: str

    @property
    def is_offered(self) -> bool:
        return self.verdict in {WORKS, DIFFERS}


@cache
def read_published() -> Mapping[str, Published]:
    """Return the published procedures by name."""
    rows = [Published(*line.split()) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {row.name: row for row in rows}


def find_reason(path: str) -> NotOfferedError | None:
    """Return the error of a published procedure that is not offered; `None` for other names."""
    row = read_published().get(path)
    if row is None or row.is_offered:
        return None
    return NotOfferedError(f"{path} is not offered: {REASONS[row.verdict]}")
