"""Verify a chain: find every changed, removed, inserted, moved or cut-off entry, and say where.

It reads what an export has, as lines (`shared.audit.lines`), and needs nothing else. Only a public
key or a hash that was kept elsewhere proves that the whole log was not replaced.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.audit.checkpoints import Checkpoint, Segment, VerifyingKey
from shared.audit.entries import GENESIS, Entry
from shared.audit.lines import End, Line

MAX_FINDINGS = 100


@dataclass(frozen=True)
class Finding:
    """A place where the log is not as it was written; ``code`` is stable.

    ``sequence`` is that of the entry, or of the first one that is missing.
    """

    code: str
    sequence: int
    message: str


@dataclass
class Verification:
    """Add lines in their order, then call `finish`; ``findings`` has at most 100.

    ``trusted`` are the only public keys that count; without them, those of the log itself.
    ``known`` are hashes by sequence number that were kept elsewhere.
    """

    trusted: Sequence[VerifyingKey] = ()
    known: Mapping[int, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    organization_id: str | None = None
    last_sequence: int = 0
    last_hash: str = GENESIS
    checkpoint: Checkpoint | None = None
    end: End | None = None
    _keys: dict[str, VerifyingKey] = field(default_factory=dict)
    _checkpoint_number: int = 0
    _checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    _compared: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._keys = {key.key_id: key for key in self.trusted}

    @property
    def keys(self) -> list[VerifyingKey]:
        """Return the public keys that count."""
        return list(self._keys.values())

    def add_all(self, lines: Iterable[Line]) -> list[Finding]:
        """Add all lines of a log, and return all findings."""
        for line in lines:
            self.add(line)
        return self.finish()

    def add(self, line: Line) -> None:
        """Check the next line."""
        match line:
            case VerifyingKey():
                if not self.trusted:
                    self._keys[line.key_id] = line
            case Segment():
                self._add_segment(line)
            case Checkpoint():
                self._add_checkpoint(line)
            case Entry():
                self._add_entry(line)
            case End():
                self.end = line

    def finish(self) -> list[Finding]:
        """Compare the end with the last checkpoint and the newest entry; return all findings."""
        signed = self.checkpoint.sequence if self.checkpoint else 0
        end = self.end
        if end is None:
            self._find("export_cut_off", self.last_sequence + 1, "the export has no end")
            end = End(self.last_sequence, self.last_hash, self._checkpoint_number)
        last = max(end.sequence, signed)
        if self.last_sequence < last:
            first = self.last_sequence + 1
            self._find("log_cut_off", first, f"entries {first} to {last} are missing")
        elif (self.last_sequence, self.last_hash) != (end.sequence, end.hash):
            self._find("end_differs", end.sequence + 1, "the log does not end where it was left")
        if self._checkpoint_number != end.checkpoint:
            self._find(
                "checkpoint_missing",
                signed + 1,
                f"the last checkpoint is {self._checkpoint_number}, not {end.checkpoint}",
            )
        for sequence in sorted(set(self.known) - self._compared):
            self._find("known_missing", sequence, "there is no entry to compare the hash with")
        return self.findings

    def _add_segment(self, segment: Segment) -> None:
        where = segment.first_sequence
        self._require_signature(segment, where)
        if where != self.last_sequence + 1:
            self._find("segment_missing", self.last_sequence + 1, "a closed segment is missing")
        elif segment.previous_hash != self.last_hash:
            self._find("segment_broken", where, "a segment does not follow the one before it")
        self.last_sequence, self.last_hash = segment.last_sequence, segment.last_hash
        self._checkpoint_number = segment.checkpoint
        self._compare(segment.last_sequence, segment.last_hash)

    def _add_checkpoint(self, checkpoint: Checkpoint) -> None:
        where, expected = checkpoint.sequence, self._checkpoint_number + 1
        self._require_signature(checkpoint, where)
        if checkpoint.number != expected:
            before = self.checkpoint.sequence if self.checkpoint else 0
            self._find("checkpoint_missing", before + 1, f"checkpoint {expected} is missing")
        self._checkpoint_number = checkpoint.number
        self._checkpoints[where] = self.checkpoint = checkpoint

    def _add_entry(self, entry: Entry) -> None:
        where, expected = entry.sequence, self.last_sequence + 1
        self.entries += 1
        self._require_organization(entry.organization_id, where)
        if where > expected:
            self._find("entry_missing", expected, f"entries {expected} to {where - 1} are missing")
        elif where < expected:
            self._find("entry_repeated", where, "the number occurs twice, or goes back")
        elif entry.previous_hash != self.last_hash:
            self._find("chain_broken", where, "the entry does not follow the one before it")
        if entry.compute_hash() != entry.hash:
            self._find("entry_changed", where, "the entry does not have its hash")
        signed = self._checkpoints.pop(where, None)
        if signed is not None and signed.hash != entry.hash:
            self._find(
                "checkpoint_differs",
                where,
                f"checkpoint {signed.number} was signed for another entry or another past",
            )
        self._compare(where, entry.hash)
        self.last_sequence, self.last_hash = where, entry.hash

    def _compare(self, sequence: int, found: str) -> None:
        if sequence in self.known:
            self._compared.add(sequence)
            if self.known[sequence] != found:
                self._find("known_differs", sequence, "the entry does not have the known hash")

    def _require_organization(self, organization_id: str, where: int) -> None:
        if self.organization_id is None:
            self.organization_id = organization_id
        elif organization_id != self.organization_id:
            self._find("organization_differs", where, "this is of another organization")

    def _require_signature(self, statement: Checkpoint | Segment, where: int) -> None:
        self._require_organization(statement.organization_id, where)
        key, kind = self._keys.get(statement.key_id), statement.kind
        if key is None:
            message = f"a {kind} is signed with the key {statement.key_id}"
            self._find("key_unknown", where, message)
        elif not key.has_signed(statement, statement.signature):
            self._find("signature_invalid", where, f"the signature of a {kind} is not valid")

    def _find(self, code: str, sequence: int, message: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, sequence, message))
