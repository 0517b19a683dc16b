"""Looking into the process namespaces that Engines of our own live in."""

from contextlib import suppress
from pathlib import Path

from worker.local.engines import LocalEngine


def traces(engine: LocalEngine) -> list[str]:
    """Return what an Engine left outside its namespace: mounts and cgroups."""
    place = str(engine.directory)
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if place in line]
    groups = Path("/sys/fs/cgroup")
    found = [*groups.glob(f"*/{engine.cgroup}"), *groups.glob(engine.cgroup)]
    return [*mounts, *(str(path) for path in found)]


def room_of(pid: int) -> int:
    """The number of the process namespace that ``pid`` lives in."""
    return Path(f"/proc/{pid}/ns/pid").stat().st_ino


def processes_in(room: int) -> list[int]:
    """Return the processes of a process namespace and of those below it, as Docker nests them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            numbers = path.read_text().partition("NSpid:")[2].split("\n")[0].split()
            if len(numbers) > 1 and _is_in(int(numbers[0]), room):
                found.append(int(numbers[0]))
    return found


def _is_in(pid: int, room: int) -> bool:
    """Containers are one namespace deeper: their parents are looked at instead."""
    with suppress(OSError):
        while pid > 1:
            if room_of(pid) == room:
                return True
            status = Path(f"/proc/{pid}/status").read_text()
            pid = int(status.partition("PPid:")[2].split()[0])
    return False
