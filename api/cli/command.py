"""Register a command: it gets the settings, its errors become sentences, its answer is shown."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from api.cli.output.answer import Answer, Form, write_answer
from api.cli.output.text import write_note
from api.cli.settings import find_settings
from shared.errors import SetupError, in_sentences

AsJson = Annotated[bool, typer.Option("--json", help="Write the API's answer as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Write ids only, one a line.")]


@dataclass(frozen=True)
class Shown:
    """The procedure whose answer ``--json`` shows, and the one that is shown ``instead``.

    The latter is with an option, mostly ``--wait``; with ``many`` it is a list of such answers.
    """

    procedure: str
    instead: str | None = None
    option: str = "--wait"
    many: bool = False


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    example: str,
    shows: str | Shown | None = None,
    hidden: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a function as a command; its first parameter gets the `ClientSettings`.

    A command that shows something returns an `Answer`, and has the options ``--json`` and
    ``--quiet``.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        run = _runner(function, with_forms=shows is not None)
        epilog = f"Example: {example}"
        app.command(name or function.__name__, epilog=epilog, hidden=hidden)(run)
        run.shown = Shown(shows) if isinstance(shows, str) else shows  # type: ignore[attr-defined]
        return function

    return add


@contextmanager
def exit_with_sentences(context: typer.Context) -> Iterator[None]:
    """Exit with code 1 at a `SetupError`, after its message and remedy."""
    try:
        yield
    except SetupError as error:
        sentences = in_sentences(error.message, error.remedy)
        write_note(f"{command_words(context)}: {sentences}")
        raise typer.Exit(1) from None


def command_words(context: typer.Context) -> str:
    """Return the words of a command, for example ``wharf registry show``."""
    words: list[str] = []
    while context.parent is not None:
        words.insert(0, str(context.info_name))
        context = context.parent  # type: ignore[assignment]
    return " ".join(["wharf", *words])


def _runner(function: Callable[..., Any], *, with_forms: bool) -> Callable[..., Any]:
    @wraps(function)
    def run(context: typer.Context, **given: Any) -> None:
        form = _form(given.pop("as_json", False), given.pop("quiet", False))
        with exit_with_sentences(context):
            settings = find_settings(context.find_root().params.get("profile"))
            answer: Answer | None = function(settings, **given)
        if answer is not None:
            write_answer(answer, form)
            if answer.code:
                raise typer.Exit(answer.code)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    forms = {"as_json": AsJson, "quiet": Quiet} if with_forms else {}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        ),
        *(one.replace(kind=keyword) for one in own),
        *(
            inspect.Parameter(name, keyword, default=False, annotation=annotation)
            for name, annotation in forms.items()
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _form(as_json: bool, quiet: bool) -> Form:  # noqa: FBT001 - as the options have them
    if as_json and quiet:
        raise typer.BadParameter("--json and --quiet cannot be combined")
    return Form.JSON if as_json else Form.QUIET if quiet else Form.PEOPLE
