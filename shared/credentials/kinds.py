"""All kinds of sources: the union of their models, and their stored form."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from shared.credentials.acr import AcrSource
from shared.credentials.ecr import EcrSource
from shared.credentials.google import GoogleSource
from shared.vault import SealContext

AnySource = Annotated[AcrSource | EcrSource | GoogleSource, Field(discriminator="kind")]
"""The kinds that exist."""

_SOURCES: TypeAdapter[AnySource] = TypeAdapter(AnySource)


def parse_source(text: str) -> AnySource:
    """Parse what `Source.to_sealable_json` returned.

    Raises:
        ValueError: another form, for example of a newer version.
    """
    return _SOURCES.validate_json(text)


def source_context(organization_id: str, registry_id: str, host: str) -> SealContext:
    """Return the seal context of a registry's source; it is bound to the registry's host."""
    return SealContext("credential_source", organization_id, registry_id, host, "")
