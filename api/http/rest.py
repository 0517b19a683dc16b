"""``/api/<router>.<procedure>``: GET queries, POST mutations, real schemas in ``/openapi.json``."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.responses import Response

from api.builds.context_upload import UPLOAD
from api.errors import NoProcedureError
from api.fields.issues import Undefined
from api.fields.json_text import parse_json
from api.fields.shapes import Accepted, Change
from api.http.bare import WARNINGS, ErrorBody, plain_error, plain_response
from api.http.body import read_body, require_json, require_one_input
from api.http.dispatch import AnyProcedure, Call, Failure, log_refusal, perform
from api.http.sse import DESCRIPTION, answer_events
from api.http.trpc import flat_input
from api.http.uploads import MEDIA_TYPES, UPLOAD_HEADERS, answer_upload
from api.jobs.event_access import EVENTS
from api.jobs.event_stream import EventStream
from api.procedure.auth import HEADER
from api.procedure.context import Resources
from shared.errors import WharfError

Endpoint = Callable[[Request], Awaitable[Response]]

_ERRORS = {
    400: "The input is refused, or the job that was waited for failed.",
    404: "There is no such thing in the organization.",
    408: "The body did not come in time.",
    409: "It is there already, or in a state that does not allow this.",
    412: "A server is missing, or is away.",
    413: "The body has more than 1 MiB.",
    415: "The body is not application/json.",
    429: "Too often, too much at once, or too many wrong keys: again after Retry-After.",
    500: "An error of ours.",
    503: "The database does not answer, or there is no room: try again in a moment.",
}
_ERRORS_OF_KNOWN = {
    401: "No API key, or not a good one.",
    403: "The key's role is not enough.",
}
_ERROR_CONTENT = {
    "application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request again within 24 hours is the same job and the same answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_WARNINGS_HEADER = {
    "description": "Fields of the request without effect: a JSON array of field, code, message.",
    "schema": {"type": "string"},
}
_KEY = APIKeyHeader(name=HEADER, auto_error=False)


def add_procedure(
    app: FastAPI, procedure: AnyProcedure, resources: Callable[[], Resources]
) -> None:
    """Give a procedure its route."""
    _add(app, procedure.name, procedure.method, _endpoint(procedure, resources))


def add_events(app: FastAPI, resources: Callable[[], Resources]) -> None:
    """Give the stream of a job's events its route."""

    async def endpoint(request: Request) -> Response:
        return await answer_events(resources(), request)

    _add(app, EVENTS.name, "GET", endpoint)


def add_upload(app: FastAPI, resources: Callable[[], Resources]) -> None:
    """Give the upload of a context its route."""

    async def endpoint(request: Request) -> Response:
        return await answer_upload(resources(), request)

    _add(app, UPLOAD.name, "POST", endpoint)


def make_document(procedures: Iterable[AnyProcedure]) -> dict[str, Any]:
    """Return the OpenAPI document of procedures, the event stream and the upload.

    It is made by an application of its own: one that serves starts sooner without its schemas.
    """
    app = FastAPI(
        title="Wharfinger",
        description="Registries, credentials and images of a fleet of Docker servers.",
    )
    _document_events(app)
    _document_upload(app)
    for procedure in procedures:
        _document_procedure(app, procedure)
    return app.openapi()


def _add(app: FastAPI, name: str, method: str, endpoint: Endpoint) -> None:
    app.add_api_route(
        f"/api/{name}", endpoint, methods=[method], include_in_schema=False, response_model=None
    )


async def _documented() -> None:
    """Stand in for the endpoints of routes that are only documented."""


def _document_procedure(app: FastAPI, procedure: AnyProcedure) -> None:
    app.add_api_route(
        f"/api/{procedure.name}",
        _documented,
        methods=[procedure.method],
        operation_id=procedure.name.replace(".", "-"),
        tags=[procedure.name.partition(".")[0]],
        summary=procedure.summary.rstrip("."),
        description=procedure.description,
        response_model=procedure.output,
        responses=_responses(procedure),
        dependencies=[Depends(_KEY)] if procedure.role else [],
        openapi_extra=_input_schema(procedure),
    )


def _document_events(app: FastAPI) -> None:
    app.add_api_route(
        f"/api/{EVENTS.name}",
        _documented,
        methods=["GET"],
        operation_id="job-events",
        tags=["job"],
        summary=EVENTS.summary.rstrip("."),
        description=DESCRIPTION,
        status_code=200,
        response_class=EventStream,
        responses=_stream_responses(),
        dependencies=[Depends(_KEY)],
        openapi_extra=_input_schema(EVENTS),
    )


def _document_upload(app: FastAPI) -> None:
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES}
    asked = UPLOAD.input.model_json_schema()["properties"]["applicationId"]
    chosen = {"name": "applicationId", "in": "query", "required": True, "schema": asked}
    app.add_api_route(
        f"/api/{UPLOAD.name}",
        _documented,
        methods=["POST"],
        operation_id="application-uploadContext",
        tags=["application"],
        summary=UPLOAD.summary.rstrip("."),
        description=UPLOAD.description,
        response_model=UPLOAD.output,
        responses=_responses(UPLOAD)
        | {413: _said("The context is larger than it may be.")}
        | {415: _said(f"The body is none of {', '.join(MEDIA_TYPES)}.")},
        dependencies=[Depends(_KEY)],
        openapi_extra={
            "requestBody": {"required": True, "content": content},
            "parameters": [chosen, *UPLOAD_HEADERS],
        },
    )


async def answer_unknown(resources: Resources, path: str, request: Request) -> Response:
    """Everything else below ``/api/``: 401 without a key, else 404, whatever the method."""
    call = Call(path, NoProcedureError("Not found"), lambda: None, guarded=True)
    [answer] = await perform(resources, request, [call])
    return plain_response(answer)


def _endpoint(procedure: AnyProcedure, resources: Callable[[], Resources]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            places = resources().bodies
            body = b"" if request.method == "GET" else await read_body(request, places)
        except WharfError as error:
            failure = Failure(procedure.name, error)
            return plain_error(log_refusal(request, failure, name=procedure.name))

        def read() -> object:
            require_one_input(request, body=request.method != "GET")
            if request.method == "GET":
                return flat_input(request)
            if not body:
                return Undefined.VALUE
            require_json(request)
            return parse_json(body)

        call = Call(procedure.name, procedure, read)
        [answer] = await perform(resources(), request, [call])
        return plain_response(answer)

    return endpoint


def _responses(procedure: AnyProcedure) -> dict[int | str, dict[str, Any]]:
    """All endings but the good one; one of them brings the error's schema along for the others."""
    errors = _ERRORS | (_ERRORS_OF_KNOWN if procedure.role else {})
    errors |= {504: "The job goes on."} if procedure.waits else {}
    responses: dict[int | str, dict[str, Any]] = {
        status: _said(description) for status, description in errors.items()
    }
    responses[400] = {"description": errors[400], "model": ErrorBody}
    responses[200] = {"headers": {WARNINGS: _WARNINGS_HEADER}}
    if procedure.waits:
        responses[202] = {"description": "With Prefer: respond-async.", "model": Accepted}
    return responses


def _said(description: str) -> dict[str, Any]:
    return {"description": description, "content": _ERROR_CONTENT}


def _stream_responses() -> dict[int | str, dict[str, Any]]:
    """As of a procedure; but what FastAPI makes of a model would be of the stream's type."""
    responses = _responses(EVENTS)
    responses[400] = _said(_ERRORS[400])
    responses[204] = {"description": "The last event was seen already."}
    return responses


def _input_schema(procedure: AnyProcedure) -> dict[str, Any]:
    whole = procedure.input.model_json_schema()
    schema = _inlined(whole, whole.get("$defs", {}))
    if issubclass(procedure.input, Change):
        schema = _without_defaults(schema)
    if procedure.kind == "mutation":
        content = {"application/json": {"schema": schema}}
        body = {"requestBody": {"required": True, "content": content}}
        return body | ({"parameters": [_IDEMPOTENCY_KEY]} if procedure.submits else {})
    required = schema.get("required", [])
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": shape}
            for name, shape in schema["properties"].items()
        ]
    }


def _without_defaults(schema: Any) -> Any:
    """A partial update's schema: generated clients would send the defaults, and so reset fields."""
    match schema:
        case {"properties": dict(properties), **rest}:
            kept = {
                name: {
                    key: _without_defaults(part) for key, part in shape.items() if key != "default"
                }
                for name, shape in properties.items()
            }
            return {**_without_defaults(rest), "properties": kept}
        case dict():
            return {key: _without_defaults(part) for key, part in schema.items()}
        case list():
            return [_without_defaults(item) for item in schema]
        case _:
            return schema


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references: ``#`` would be another document once it stands in ours."""
    match schema:
        case {"$ref": str(reference)}:
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _inlined({**definitions[reference.rpartition("/")[2]], **rest}, definitions)
        case dict():
            parts = {key: value for key, value in schema.items() if key != "$defs"}
            return {key: _inlined(value, definitions) for key, value in parts.items()}
        case list():
            return [_inlined(item, definitions) for item in schema]
        case _:
            return schema
