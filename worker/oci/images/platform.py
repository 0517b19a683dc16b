"""The platform of an image or a machine: ``os/architecture[/variant]``."""

from dataclasses import dataclass

_RUNS_ALSO = {"amd64": "386", "arm64": "arm"}
_PLAIN = {("arm64", "v8"): "", ("amd64", "v1"): ""}


@dataclass(frozen=True)
class Platform:
    """A platform in the terms of OCI images; unknown parts are empty."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, image: "Platform") -> bool:
        """Return whether an image for the platform ``image`` runs on this one, as far as known."""
        if image.os not in {"", self.os}:
            return False
        if image.architecture != self.architecture:
            return image.architecture in {"", _RUNS_ALSO.get(self.architecture)}
        required, offered = _variant(self), _variant(image)
        return not required or not offered or offered <= required

    def distance(self, image: "Platform") -> tuple[bool, bool]:
        """Return a sort key for images that run here: the least is the best match."""
        return image.architecture != self.architecture, _variant(image) != _variant(self)


def parse_platform(text: str) -> Platform:
    """Parse a platform such as ``linux/arm/v7``."""
    return Platform(*text.split("/", 2))


def _variant(platform: Platform) -> str:
    """Return the variant, empty if it is the architecture's default."""
    return _PLAIN.get((platform.architecture, platform.variant), platform.variant)
