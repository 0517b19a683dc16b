"""Bare JSON in and out, for people with curl.

Queries by GET, with flat parameters or ``input={…}``, and by POST; mutations by POST.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.fields.issues import Undefined
from api.fields.json_text import parse_json
from api.http.body import require_json, require_one_input
from api.http.calls import Call, Procedures, find_procedure, make_wrong_method
from api.http.perform import perform
from api.http.plain import plain_response
from api.procedure.context import Resources
from api.procedure.procedure import Flat, Procedure
from shared.errors import InvalidInputError


async def answer_bare(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    procedure = find_procedure(procedures, path)
    if isinstance(procedure, Procedure):
        fits = ("GET", "POST") if procedure.kind == "query" else ("POST",)
        if request.method not in fits:
            procedure = make_wrong_method(procedure, request.method, ", ".join(fits))
    call = Call(path, procedure, lambda: _bare_input(request, body))
    [answer] = await perform(resources, request, [call])
    return plain_response(answer)


def _bare_input(request: Request, body: bytes) -> object:
    require_one_input(request, body=bool(body))
    if body:
        require_json(request)
        return parse_json(body)
    if text := request.query_params.get("input"):
        return parse_json(text)
    return flat_input(request)


def flat_input(request: Request) -> object:
    """Return the query parameters as an input, or `Undefined` if there are none.

    Raises:
        InvalidInputError: one of them is given twice.
    """
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidInputError("a query parameter is given twice")
    return Flat(values) if values else Undefined.VALUE
