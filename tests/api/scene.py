"""A scene for probes: one of everything that can be named in a request, and more on demand."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg

from api.procedure.procedure import Procedure
from shared.ids import make_id
from shared.vault import PrivateKey
from tests.api.asking import create_application, create_registry
from tests.api.deploying import create_deployable, deploy, make_point
from tests.api.field_probes import GIT, SCANNED, SSH_GIT, Probe
from tests.api.fleet import TestServer, make_verifier
from tests.api.observing import CallEffects, observe
from tests.databases import Database
from worker.local.postgres import OWNER

ASYNC = {"prefer": "respond-async"}
FRESH_SERVER = {
    "new_server": "serverId",
    "token": "joinToken",
    "paused_server": "serverId",
    "gone_server": "serverId",
}


@dataclass
class Scene:
    """The objects that probes need, by name; fresh ones are made for each call."""

    client: httpx2.AsyncClient
    database: Database
    owner: psycopg.Connection[Any]
    names: dict[str, str] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def post(self, procedure: str, **body: Any) -> Any:
        answer = await self.client.post(f"/api/{procedure}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def keep_online(self) -> None:
        """Have the servers online for as long as this takes, without workers that say so."""
        ahead = "UPDATE server SET seen_at = now() + interval '1 hour' WHERE engine IS NOT NULL"
        self.owner.execute(ahead)

    async def make(self, name: str) -> None:
        """One thing that nothing was done with yet."""
        match name:
            case "registry" | "testing" | "kept_login" | "used_registry":
                await self._make_registry(name)
            case "webhook" | "signing" | "spare_signing":
                await self._make_own(name)
            case "application" | "ssh_application":
                await self._make_application(name)
            case "new_build" | "new_deployment" | "cancelled_pull":
                await self._make_work(name)
            case "hook":
                chosen = self.names["image_application"]
                made = await self.post("deployHook.create", applicationId=chosen)
                self.names[name] = made["hookId"]
            case "api_key" | "invitation" | "user":
                await self._make_account(name)
            case "whole_point":
                self.database.execute("UPDATE rollback SET dropped_at = NULL")
            case "delivery":
                self.database.execute(
                    "UPDATE webhook_delivery SET due_at = NULL, delivered_at = now(), attempts = 1"
                )
            case _:
                await self._make_server(name)

    async def _make_account(self, name: str) -> None:
        if name == "api_key":
            made = await self.post("apiKey.create", name="probe")
            self.names[name] = made["apiKeyId"]
        elif name == "invitation":
            made = await self.post("organization.inviteMember")
            self.names[name] = made["invitationId"]
        else:
            self._make_user()

    def _make_user(self) -> None:
        """A member of the organization."""
        user_id, member_id = f"user-{next(self.numbers)}", f"member-{next(self.numbers)}"
        self.owner.execute(
            "INSERT INTO user_account (user_id, email, name, salt, derivation, proof_hash)"
            " VALUES (%s, %s, 'Ada', '', '{}', '')",
            (user_id, f"{user_id}@example.com"),
        )
        self.owner.execute(
            "INSERT INTO member (member_id, organization_id, user_id, role)"
            " VALUES (%s, %s, %s, 'member')",
            (member_id, self.names["organization"], user_id),
        )
        self.names |= {"user": user_id, "member": member_id}

    async def _make_own(self, name: str) -> None:
        """One thing of the organization that belongs to nothing else."""
        if name == "webhook":
            made = await self.post("webhook.create", url="https://a.example/")
            self.names[name] = made["webhookId"]
        else:
            made = await self.post("signingKey.create", name=f"{name} {make_id()}")
            self.names[name] = made["signingKeyId"]

    async def _make_registry(self, name: str) -> None:
        """A registry; by its name, its login is changing or has changed, or it is used."""
        chosen = (await create_registry(self.client))["registryId"]
        change = {"registryId": chosen, "password": "another password"}
        if name == "testing":
            await self.client.post("/api/registry.rotate", json=change, headers=ASYNC)
        elif name == "kept_login":
            await self.post("registry.update", **change)
        elif name == "used_registry":
            user = f"probe-{next(self.numbers)}"
            await create_application(self.client, name=user, buildRegistryId=chosen)
        self.names[name] = chosen

    async def _make_server(self, name: str) -> None:
        made = await self.post("server.create", name=f"probe-{next(self.numbers)}")
        self.names[name] = made[FRESH_SERVER[name]]
        if name == "paused_server":
            await self.post("server.pause", serverId=made["serverId"])
        if name == "gone_server":
            await self.post("server.remove", serverId=made["serverId"])

    async def _make_application(self, name: str = "application") -> None:
        made = await create_application(
            self.client,
            name=f"probe-{next(self.numbers)}",
            customGitUrl=SSH_GIT if name == "ssh_application" else GIT,
            buildRegistryId=self.names["registry"],
            buildServerId=self.names["server"],
            serverIds=[self.names["server"]],
        )
        self.names[name] = made["applicationId"]

    async def _make_work(self, name: str) -> None:
        if name == "cancelled_pull":
            made = await self.post("image.pull", image=f"probe-{next(self.numbers)}")
            await self.post("job.cancel", jobId=made["jobId"])
            self.names[name] = made["jobId"]
            return
        await self._make_application()
        action = "build" if name == "new_build" else "deploy"
        self.names[name] = (await self._ask(f"application.{action}"))[
            "buildId" if action == "build" else "deploymentId"
        ]

    async def _ask(self, procedure: str) -> Any:
        return await self.post(procedure, applicationId=self.names["application"])

    def filled(self, value: Any) -> Any:
        """The value with the scene's names and a number in their places."""
        match value:
            case str():
                if value.startswith("$"):
                    return self.names[value[1:]]
                return value.replace("{n}", str(next(self.numbers)))
            case dict():
                return {name: self.filled(part) for name, part in value.items()}
            case list():
                return [self.filled(part) for part in value]
            case _:
                return value

    async def ask(
        self, procedure: Procedure[Any, Any], probe: Probe, **changed: Any
    ) -> CallEffects:
        for name in probe.fresh:
            await self.make(name)
        requested = self.filled({**probe.base, **changed})
        path = f"/api/{procedure.name}"

        async def request(client: httpx2.AsyncClient) -> httpx2.Response:
            if procedure.kind == "query":
                return await client.get(path, params=requested, headers=ASYNC)
            return await client.post(path, json=requested, headers=ASYNC)

        return await observe(
            self.client, self.owner, self.names, request, changes=procedure.kind == "mutation"
        )


@asynccontextmanager
async def open_scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> AsyncIterator[Scene]:
    """A server, registries, an application with builds, deployments and a rollback point."""
    with psycopg.connect(database.url(OWNER), autocommit=True) as owner:
        scene = Scene(client, database, owner)
        await _fill(scene, server)
        yield scene


def _add_report(database: Database) -> None:
    database.execute(
        "INSERT INTO image_report (organization_id, digest, reference, server_id)"
        " SELECT organization_id, %s, 'ghcr.io/a/b', '' FROM organization LIMIT 1",
        SCANNED,
    )
    database.execute(
        "INSERT INTO image_package (organization_id, digest, type, name, version)"
        " SELECT organization_id, digest, 'deb', 'openssl', '3' FROM image_report"
    )
    # One that runs, so that a search finds something.
    database.execute(
        "INSERT INTO image_report (organization_id, digest, reference, server_id, sbom)"
        " SELECT organization_id, digest, reference, '', '{}' FROM deployment"
        " WHERE digest IS NOT NULL LIMIT 1"
    )
    database.execute(
        "INSERT INTO image_package (organization_id, digest, type, name, version)"
        " SELECT organization_id, digest, 'deb', 'openssl', '3' FROM image_report"
        " ON CONFLICT DO NOTHING"
    )


async def _fill(scene: Scene, server: TestServer) -> None:
    client, database = scene.client, scene.database
    scene.keep_online()
    scene.names["subscribed"] = (await scene.post("webhook.create", url="https://a.example/"))[
        "webhookId"
    ]
    stored = await create_deployable(client, [server], appName="kept", rollbackActive=True)
    scene.names |= {"server": server.server_id, "kept": stored["applicationId"]}
    point = await make_point(client, server, stored)
    scene.names |= {"point": point["rollbackId"], "deployment": point["deploymentId"]}
    await scene.post("application.build", applicationId=stored["applicationId"])
    scene.names["build"] = point["buildId"]
    await deploy(client, stored["applicationId"])
    image = await create_application(client, name="image", dockerImage="ghcr.io/a/b:1")
    scene.names["image_application"] = image["applicationId"]
    scene.names["organization"] = image["organizationId"]
    fresh = ("registry", "webhook", "application", "paused_server", "gone_server")
    for name in (*fresh, "signing", "spare_signing"):
        await scene.make(name)
    scene.names["own_key"] = (await client.get("/api/apiKey.all")).json()[0]["apiKeyId"]
    keys = PrivateKey.generate(), PrivateKey.generate()
    scene.names |= {"key": str(keys[0].public), "other_key": str(keys[1].public)}
    scene.names |= {"verifier": make_verifier("one"), "other_verifier": make_verifier("two")}
    for job_id in ("one", "two"):
        database.execute(
            "INSERT INTO registry_check (job_id, organization_id, registry_id, server_id, state)"
            " SELECT %s, organization_id, registry_id, %s, 'failed' FROM registry LIMIT 1",
            job_id,
            server.server_id,
        )
    _add_report(database)
    [(delivery_id,)] = database.execute(
        "SELECT min(delivery_id) FROM webhook_delivery WHERE webhook_id = %s",
        scene.names["subscribed"],
    )
    scene.names["delivery"] = str(delivery_id)
    scene.keep_online()
