"""The OpenAPI document of procedures, the event stream and the upload.

Its schemas cost half a second, so it is made on request, and not when the process starts.
"""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from api.builds.context_upload import UPLOAD
from api.fields.shapes import Accepted
from api.http.calls import AnyProcedure
from api.http.openapi.errors import describe_errors, make_error_responses, refer_to_errors
from api.http.openapi.examples import ACCEPTED, EXAMPLES, JOB_EVENTS
from api.http.openapi.properties import describe
from api.http.openapi.schemas import Schema, Schemas, markdown
from api.http.plain import WARNINGS, ErrorBody
from api.http.sse import DESCRIPTION
from api.http.uploads import MEDIA_TYPES, UPLOAD_HEADERS
from api.jobs.event_access import EVENTS
from api.procedure.auth import HEADER

OVERVIEW = f"""
Wharfinger keeps the registries, credentials and images of a fleet of Docker servers.

**Authentication.** Send an API key in the header `{HEADER}`. A key has the role `admin` or
`member`; each operation says which one it needs.

**Jobs.** Work on a server is a job. An operation that submits one answers its `jobId`; follow the
job with `job.one` or `job.events`. Some operations wait for their job. With the header
`Prefer: respond-async` they answer 202 and the `jobId` instead.

**Retries.** Send an `Idempotency-Key` with an operation that submits a job. The same request under
the same key within 24 hours is the same job and has the same answer.

**Pages.** `job.all` answers at most `limit` jobs and a `nextCursor`. Send it as `cursor` to get the
next page; it is null on the last one. Other lists take a `limit` where they can be long.

**Errors.** Every error has the schema `Error`, which lists all stable codes.

**Compatibility.** A field without effect is accepted where clients of Dokploy send it. The answer's
header `{WARNINGS}` names such fields.
"""
TAGS = {
    "registry": "Container registries with their logins, and tests of them.",
    "server": "Servers that build and run images.",
    "application": "Applications: what they are built from, where and how they run.",
    "build": "Builds of an application's image.",
    "deployment": "Deployments of an image to an application's servers.",
    "rollback": "Rollback points of an application.",
    "deployHook": "URLs that deploy an application when its image is pushed.",
    "image": "Images: pull, push, copy and tag.",
    "signature": "Signatures of images: sign one, verify those of one.",
    "signaturePolicy": "What has to be signed before it is deployed, and by whom.",
    "signingKey": "Keys that sign images, and public keys of others.",
    "scan": "Scans of images for vulnerabilities.",
    "scanPolicy": "SBOMs of new images, and the vulnerabilities that are accepted.",
    "sbom": "Packages in images, by their SBOMs.",
    "compose": "Compose files with their images pinned by digest.",
    "job": "Jobs with their attempts, events and results.",
    "webhook": "Endpoints that receive a message when work has ended.",
    "organization": "Settings of an organization, roles of its members, and invitations.",
    "apiKey": "API keys and their roles.",
    "user": "The caller, the people of an organization, and API keys for clients of Dokploy.",
    "auditLog": "What was done, when and by whom.",
    "project": "The one project of an organization, for clients of Dokploy.",
    "environment": "The one environment of an organization, for clients of Dokploy.",
    "settings": "Health and version, for clients of Dokploy.",
    "restore": "State of a database that was restored from a copy.",
}
"""One sentence for each noun."""

PARAMETERS = {
    "action": "What was done: a procedure's name, or its router's.",
    "actorId": "Id of the API key or the member who did it.",
    "after": "`next` of the page before.",
    "afterSequence": "Sequence number of the entry after which to continue.",
    "appName": "Part of the `appName`.",
    "applicationId": "Id of the application.",
    "buildId": "Id of the build.",
    "below": "Version; only older ones are listed.",
    "cursor": "`nextCursor` of the page before.",
    "description": "Part of the description.",
    "digest": "Digest of the image.",
    "dockerImage": "Part of the image.",
    "environmentId": "Id of the environment.",
    "id": "Id of the application or the server.",
    "deploymentId": "Id of the deployment.",
    "hours": "Hours to look back.",
    "history": "Number of earlier tests of each pair.",
    "image": "Name of the image, with the host of its registry.",
    "jobId": "Id of the job.",
    "kind": "Kind of the jobs to list.",
    "lastEventId": "Number of the last event that the reader received.",
    "limit": "Largest number of items in the answer.",
    "name": "Part of the name; of a package the whole name.",
    "objectId": "Id of what was changed.",
    "offset": "Number of items to leave out.",
    "owner": "Part of the git URL.",
    "projectId": "Id of the project.",
    "q": "Part of any of these fields.",
    "registryId": "Id of the registry.",
    "repository": "Part of the git URL; of images the repository's path.",
    "search": "Only lines that contain this.",
    "serverId": "Id of the server.",
    "signingKeyId": "Id of the signing key.",
    "since": "Age of the oldest line: `all`, or for example `90s`, `10m`, `2h` or `7d`.",
    "state": "State of the jobs to list.",
    "type": "What was deployed.",
    "tail": "Largest number of lines.",
    "webhookId": "Id of the webhook.",
}
"""Query parameters."""

ROLES = {
    "admin": "Needs an API key with the role `admin`.",
    "member": "Needs an API key with the role `member` or `admin`.",
    "viewer": "Needs an API key of any role.",
    None: "Needs no API key.",
}


ANSWERS_EARLY = {"registry.testOnServers", "registry.rotate"}
"""Operations that wait for several jobs, and answer 200 at once with ``Prefer: respond-async``."""


def make_document(procedures: Iterable[AnyProcedure]) -> dict[str, Any]:
    """Return the whole document."""
    documented = [*procedures, EVENTS, UPLOAD]
    schemas = Schemas()
    outputs = {each.name: each.output for each in documented if each is not EVENTS}
    answers = schemas.add_outputs(outputs | {"error": ErrorBody, "accepted": Accepted})
    inputs = schemas.add_inputs({each.name: each.input for each in documented})
    schemas.components["Error"]["description"] = describe_errors()
    paths = {}
    for each in documented:
        operation = _operation(each)
        if each is EVENTS:
            operation |= _stream(inputs[each.name])
        elif each is UPLOAD:
            operation |= _upload(inputs[each.name], answers[each.name])
        else:
            operation |= _call(schemas, each, inputs[each.name], answers[each.name])
        paths[f"/api/{each.name}"] = {each.method.lower(): operation}
    describe(schemas.components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wharfinger",
            "version": version("wharfinger"),
            "summary": "Registries, credentials and images of a fleet of Docker servers.",
            "description": OVERVIEW.strip(),
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The API that serves this document."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": _components(schemas, answers["error"]),
    }


def _operation(procedure: AnyProcedure) -> dict[str, Any]:
    """The parts that all operations have."""
    noun = procedure.name.partition(".")[0]
    text = DESCRIPTION.strip() if procedure is EVENTS else procedure.description
    described = [markdown(text), ROLES[procedure.role]] if text else [ROLES[procedure.role]]
    return {
        "operationId": operation_id(procedure.name),
        "tags": [noun],
        "summary": markdown(procedure.summary).rstrip("."),
        "description": "\n\n".join(described),
        "security": [{"apiKey": []}] if procedure.role else [],
        **({"x-required-role": procedure.role} if procedure.role else {}),
    }


def operation_id(name: str) -> str:
    """``registry.testRegistry`` → ``registryTestRegistry``: the noun, then the verb."""
    noun, _, verb = name.partition(".")
    return f"{noun}{verb[0].upper()}{verb[1:]}"


def _call(
    schemas: Schemas, procedure: AnyProcedure, schema: Schema, answer: Schema
) -> dict[str, Any]:
    """The parts of an operation that takes and answers JSON."""
    example = EXAMPLES[procedure.name]
    good: dict[str, Any] = {
        "description": "The answer.",
        "content": {"application/json": {"schema": answer, "example": example.answer}},
    }
    accepted = {"202": {"$ref": "#/components/responses/Accepted"}} if procedure.waits else {}
    prefer = {"$ref": "#/components/parameters/Prefer"}
    if procedure.kind == "query":
        shown = [*_parameters(schema, example.request), *([prefer] if procedure.waits else [])]
        answers = {"200": good, **accepted, **refer_to_errors(procedure)}
        return {"parameters": shown, "responses": answers}
    named = f"{operation_id(procedure.name)[0].upper()}{operation_id(procedure.name)[1:]}Input"
    content = {"schema": schemas.add(named, schema), "example": dict(example.request)}
    good["headers"] = {WARNINGS: {"$ref": "#/components/headers/Warnings"}}
    heeds_prefer = procedure.waits or procedure.name in ANSWERS_EARLY
    headers = [
        *([{"$ref": "#/components/parameters/IdempotencyKey"}] if procedure.submits else []),
        *([prefer] if heeds_prefer else []),
    ]
    return {
        "parameters": headers,
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {"application/json": content},
        },
        "responses": {"200": good, **accepted, **refer_to_errors(procedure)},
    }


def _stream(schema: Schema) -> dict[str, Any]:
    good = {
        "description": "The events, as text.",
        "content": {
            "text/event-stream": {"schema": {"type": "string"}, "example": JOB_EVENTS.answer}
        },
    }
    over = {"description": "The reader has received the last event already."}
    return {
        "parameters": _parameters(schema, JOB_EVENTS.request),
        "responses": {"200": good, "204": over, **refer_to_errors(EVENTS)},
    }


def _upload(schema: Schema, answer: Schema) -> dict[str, Any]:
    example = EXAMPLES[UPLOAD.name]
    good = {
        "description": "The context that was stored.",
        "content": {"application/json": {"schema": answer, "example": example.answer}},
    }
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES}
    return {
        "parameters": [*_parameters(schema, example.request), *UPLOAD_HEADERS],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": good, **refer_to_errors(UPLOAD)},
    }


def _parameters(schema: Schema, example: Any) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "description": PARAMETERS[name],
            "required": name in required,
            "schema": shape,
            **({"example": example[name]} if name in example else {}),
        }
        for name, shape in schema["properties"].items()
    ]


def _components(schemas: Schemas, error: Schema) -> dict[str, Any]:
    responses = make_error_responses(error)
    responses["Accepted"] = {
        "description": "The job was stored. The request had `Prefer: respond-async`.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/AcceptedJob"},
                "example": ACCEPTED,
            }
        },
    }
    return {
        "schemas": dict(sorted(schemas.components.items())),
        "responses": responses,
        "parameters": {
            "IdempotencyKey": {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same request under the same key within 24 hours is the same "
                "job and has the same answer.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            },
            "Prefer": {
                "name": "Prefer",
                "in": "header",
                "description": "`respond-async` (RFC 7240): answer at once; do not wait for the "
                "job.",
                "schema": {"type": "string", "enum": ["respond-async"]},
            },
        },
        "headers": {
            "RetryAfter": {
                "description": "Seconds to wait before the next request.",
                "schema": {"type": "integer"},
            },
            "Warnings": {
                "description": "Fields of the request without effect: a JSON array of `field`, "
                "`code` and `message`. The header is absent if there are none.",
                "schema": {"type": "string"},
            },
        },
        "securitySchemes": {
            "apiKey": {
                "type": "apiKey",
                "in": "header",
                "name": HEADER,
                "description": "An API key, made by `apiKey.create`. Its role is `admin` or "
                "`member`. `x-required-role` names the least role that an operation needs.",
            }
        },
    }
