"""The vault's public key of a running API: read again when its file changes."""

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from shared.errors import SetupError
from shared.vault import PublicKey, SealContext

log = structlog.get_logger()


@dataclass
class SealingKey:
    """Seals with the newest key that ``file`` holds; without a file always with the same one.

    ``wharf vault rotate`` writes the file. What is not a key there is logged, and not used.
    """

    key: PublicKey
    file: Path | None = None
    _read_at: tuple[int, int] | None = field(default=None, init=False)

    def seal(self, secret: str, context: SealContext) -> str:
        """Seal a secret for control alone."""
        if self.file is not None:
            self._read(self.file)
        return self.key.seal(secret, context)

    def _read(self, file: Path) -> None:
        try:
            status = file.stat()
            version = (status.st_mtime_ns, status.st_ino)
            if version == self._read_at:
                return
            self.key, self._read_at = PublicKey.parse(file.read_text().strip()), version
        except (OSError, UnicodeDecodeError, SetupError) as error:
            log.warning("vault_public_key_not_read", error=type(error).__name__)
