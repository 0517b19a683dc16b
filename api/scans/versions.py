"""Compare versions of packages, each by the rules of its kind."""

from univers.versions import (
    AlpineLinuxVersion,
    ArchLinuxVersion,
    ComposerVersion,
    DebianVersion,
    GolangVersion,
    InvalidVersion,
    MavenVersion,
    NugetVersion,
    PypiVersion,
    RpmVersion,
    RubygemsVersion,
    SemverVersion,
    Version,
)

_RULES: dict[str, type[Version]] = {
    "alpm": ArchLinuxVersion,
    "apk": AlpineLinuxVersion,
    "cargo": SemverVersion,
    "composer": ComposerVersion,
    "deb": DebianVersion,
    "gem": RubygemsVersion,
    "golang": GolangVersion,
    "maven": MavenVersion,
    "npm": SemverVersion,
    "nuget": NugetVersion,
    "pypi": PypiVersion,
    "rpm": RpmVersion,
}
"""By the type of a package URL. Others are compared by Debian's rules, which take any text."""


def is_below(version: str, limit: str, package_type: str) -> bool | None:
    """Return whether a version is older than the limit; ``None`` if that cannot be said."""
    rule = _RULES.get(package_type, DebianVersion)
    try:
        return bool(rule(version) < rule(limit))
    except (InvalidVersion, TypeError, ValueError, AttributeError, NotImplementedError):
        return None
