"""What an image is built for and a machine runs: ``os/architecture[/variant]``."""

from dataclasses import dataclass

_RUNS_ALSO = {"amd64": "386", "arm64": "arm"}
_PLAIN = {("arm64", "v8"): "", ("amd64", "v1"): ""}


@dataclass(frozen=True)
class Platform:
    """In the words of OCI images; what is not known is empty."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, image: "Platform") -> bool:
        """Whether what was built for ``image`` runs here, as far as that can be told."""
        if image.os not in {"", self.os}:
            return False
        if image.architecture != self.architecture:
            return image.architecture in {"", _RUNS_ALSO.get(self.architecture)}
        asked, offered = _variant(self), _variant(image)
        return not asked or not offered or offered <= asked

    def distance(self, image: "Platform") -> tuple[bool, bool]:
        """The less, the better, among those that run here."""
        return image.architecture != self.architecture, _variant(image) != _variant(self)


def parse_platform(text: str) -> Platform:
    """``linux/arm/v7`` in its parts."""
    return Platform(*text.split("/", 2))


def _variant(platform: Platform) -> str:
    """An architecture's first variant is what is meant where none is named."""
    return _PLAIN.get((platform.architecture, platform.variant), platform.variant)
