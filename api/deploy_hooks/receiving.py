"""Receive the notification of a push, and deploy the pushed image or commit once."""

import hashlib
import time
from dataclasses import dataclass, replace

import structlog
from sqlmodel import select

from api.applications.loading import ApplicationRegistries, load_application
from api.applications.repositories import repositories_of
from api.deploy_hooks.answers import Built, Deployed, Ignored, Received
from api.deploy_hooks.commits import CommitPush, choose_commit, parse_commit_push
from api.deploy_hooks.pushes import Push, parse_pushes
from api.deploy_hooks.secrets import open_secret
from api.deploy_hooks.signature import SignatureMethod, require_signed
from api.deployments.deploy import deploy_commit, deploy_image
from api.errors import SignatureError
from api.fields.json_text import parse_json
from api.fields.shapes import Input
from api.procedure.auth import hash_secret, proof_of
from api.procedure.context import Caller, Context
from api.procedure.idempotency import insert_or_read
from api.procedure.procedure import Procedure
from shared.errors import NotFoundError, UnmetConditionError
from shared.models import Application, DeployHook
from shared.reference import Reference, parse_reference
from shared.webhooks import ID_HEADER

GITHUB_ID_HEADER = "x-github-delivery"

USED = """
UPDATE deploy_hook SET last_used_at = now()
 WHERE hook_id = %s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""
STORE_EVENT = """
WITH stored AS (
  INSERT INTO deploy_hook_event (hook_id, event_hash, deployment_id)
  VALUES (%(hook_id)s, %(event_hash)s, %(deployment_id)s)
  ON CONFLICT DO NOTHING RETURNING deployment_id
)
SELECT deployment_id FROM stored
UNION ALL
SELECT deployment_id FROM deploy_hook_event
 WHERE hook_id = %(hook_id)s AND event_hash = %(event_hash)s AND NOT EXISTS (SELECT FROM stored)
"""


class WebhookRequest(Input):
    """A received request; names of headers are in lower case."""

    token: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Chosen:
    """The pushed tag of an image that is to be deployed."""

    image: Reference
    push: Push

    @property
    def name(self) -> str:
        return str(replace(self.image, tag=self.push.tag, digest=None))


async def receive(context: Context, request: WebhookRequest) -> Received:
    """Deploy the newest push that matches the hook.

    Registries repeat notifications that fail, and some hold back later ones. So an application
    that cannot be deployed now is not an error, but `Ignored`.

    Raises:
        NotFoundError: there is no hook with this token.
        SignatureError: it is not signed with the hook's secret.
        TooManyFailuresError: too many such requests came from this address.
    """
    hook = await _find(context, request.token)
    structlog.contextvars.bind_contextvars(organization=hook.organization_id, hook_id=hook.hook_id)
    context.resources.limiter.require_room(hook.hook_id)
    secret = open_secret(hook.sealed_secret, request.token, hook.hook_id)
    method = _require_signed(context, hook, request, secret)
    # The hook may deploy its own application: an administrator created it for that.
    proof = proof_of(request.token).hex()
    caller = Caller(hook.organization_id, hook.hook_id, "member", proof, hook.application_id)
    context = replace(context, caller=caller)
    try:
        return Received(await _deploy(context, hook, request, method))
    except UnmetConditionError as error:
        return Received(Ignored(ignored=error.code, message=error.message))


async def _deploy(
    context: Context, hook: DeployHook, request: WebhookRequest, method: SignatureMethod | None
) -> Deployed | Built | Ignored:
    async with context.transaction() as session:
        application, registries = await load_application(session, context, hook.application_id)
    body = parse_json(request.body)
    pushes = parse_pushes(body)
    if application.source_type == "git" and not pushes:
        push = choose_commit(application, hook, parse_commit_push(body))
        return await _build(context, hook, push, request, method)
    chosen = choose(application, registries, hook.tag_filter, pushes)
    if isinstance(chosen, Ignored):
        return chosen
    event_id = _event_id(request, chosen.push.event_id, method)
    deployment_id = await _store_event(context, hook, event_id)
    context = replace(context, job_id=deployment_id, outlives=True)
    deployed = await deploy_image(context, hook.application_id, chosen.push.tag)
    return Deployed(
        deployment_id=deployed.deployment_id,
        application_id=hook.application_id,
        image=chosen.name,
    )


async def _build(
    context: Context,
    hook: DeployHook,
    push: CommitPush | Ignored,
    request: WebhookRequest,
    method: SignatureMethod | None,
) -> Built | Ignored:
    if isinstance(push, Ignored):
        return push
    event_id = _event_id(request, push.event_id, method)
    deployment_id = await _store_event(context, hook, event_id)
    context = replace(context, job_id=deployment_id, outlives=True)
    deployed = await deploy_commit(context, hook.application_id, push.commit, push.title)
    return Built(
        deployment_id=deployed.deployment_id,
        application_id=hook.application_id,
        branch=push.branch,
        commit=push.commit,
    )


def choose(
    application: Application, registries: ApplicationRegistries, tag_filter: str, pushes: list[Push]
) -> Chosen | Ignored:
    """Choose the newest push of the application's image with a matching tag; pure.

    Pushes by the application's own builds are ignored: they would deploy and push without end.
    """
    if application.source_type != "docker":
        return Ignored(
            ignored="source_not_docker",
            message="the application is built, not deployed from a ready image",
        )
    image = parse_reference(application.docker_image or "")
    if not pushes:
        return Ignored(ignored="no_push", message="the request does not report a push of a tag")
    matching = [push for push in pushes if push.is_of(image)]
    if not matching:
        return Ignored(ignored="other_repository", message=f"the push is not to {image.name}")
    if image.name in repositories_of(application, registries):
        return Ignored(
            ignored="own_push", message=f"the application's builds are pushed to {image.name} too"
        )
    return _choose_tag(image, matching, tag_filter)


def _choose_tag(image: Reference, pushes: list[Push], tag_filter: str) -> Chosen | Ignored:
    images = [push for push in pushes if not push.artifact]
    if not images:
        newest = pushes[-1]
        return Ignored(
            ignored="not_an_image", message=f"{newest.tag} is not an image: {newest.artifact}"
        )
    matching = [push for push in images if push.passes(tag_filter)]
    if not matching:
        return Ignored(ignored="tag_not_wanted", message=f"the tag does not match {tag_filter}")
    return Chosen(image, matching[-1])


def _event_id(
    request: WebhookRequest, event_id: str | None, method: SignatureMethod | None
) -> str | None:
    """Return the sender's id of the event, if it has one: it identifies repetitions.

    An id in the body comes first, because every signature covers the body. GitHub's signature
    covers no header, but GitHub repeats the same body, so its hash is the id.
    """
    if method == "github":
        return hashlib.sha256(request.body).hexdigest()
    named = (event_id, request.headers.get(ID_HEADER), request.headers.get(GITHUB_ID_HEADER))
    return next((name for name in named if name), None)


async def _find(context: Context, token: str) -> DeployHook:
    token_hash, guesses = hash_secret(token), context.resources.guesses
    guesses.require_room(context.address, token_hash)
    query = select(DeployHook).where(DeployHook.token_hash == token_hash)
    async with context.transaction() as session:
        hook = (await session.exec(query)).one_or_none()
    if hook is None:
        guesses.fail(context.address, token_hash)
        raise NotFoundError("Not found")
    guesses.succeed(token_hash)
    return hook


def _require_signed(
    context: Context, hook: DeployHook, request: WebhookRequest, secret: str
) -> SignatureMethod | None:
    """Verify the signature; wrong ones are slowed as wrong keys are.

    Each hook has its own budget for an address: one registry sends the pushes of many hooks.
    """
    guesses, address = context.resources.guesses, f"{context.address} {hook.hook_id}"
    proof = hash_secret(request.headers.get("authorization", ""))
    guesses.require_room(address, proof)
    try:
        method = require_signed(
            request.headers, request.body, secret, now=time.time(), required=hook.require_signature
        )
    except SignatureError:
        guesses.fail(address, proof)
        raise
    if method == "secret":
        guesses.succeed(proof)
    return method


async def _store_event(context: Context, hook: DeployHook, event_id: str | None) -> str:
    """Record the use of the hook and the event; return the id of the event's deployment."""
    async with context.resources.pool.connection() as connection:
        await connection.execute(USED, (hook.hook_id,))
    if event_id is None:
        return context.job_id
    values: dict[str, object] = {
        "hook_id": hook.hook_id,
        # JSON may contain an unpaired surrogate.
        "event_hash": hashlib.sha256(event_id.encode(errors="surrogatepass")).digest(),
        "deployment_id": context.job_id,
    }
    row = await insert_or_read(context.resources.pool, STORE_EVENT, values)
    return str(row["deployment_id"])


RECEIVE = Procedure("deploy", "mutation", WebhookRequest, Received, receive, role=None)
