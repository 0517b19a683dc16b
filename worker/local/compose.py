"""``wharf secrets DIRECTORY``: the files that compose.yaml hands to its services, one secret each.

```text
DIRECTORY/        0700: nobody else gets to its files, although all may read some
  passwords.json  0600, all that was drawn by lot; the other files are made of it anew each time
  vault.private   0644, kept: what is stored in the database opens with nothing else
  ca.key          0644, kept: the key of the internal CA, with its certificate in ca.pem
  join.token      0644, kept: empty until an operator puts in what `server.create` answered
  …               0644
```

Compose binds a file into a container as it is, and every container has a user of its own. So the
directory is what guards the files, and their own modes let them be read.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import bcrypt

from shared.errors import SetupError, in_sentences
from shared.vault import PrivateKey
from worker.broker_users import RULES, make_access_list
from worker.local.directory import PrivateDirectory
from worker.local.tls.authority import CERTIFICATE, KEY, Authority

POSTGRES = ("postgres", "wharf_owner", "wharf_api", "wharf_control")
OTHERS = ("admin key", "flower login", "registry login")
USER = "wharf"
"""The users of Flower and of the registry."""

BCRYPT_ROUNDS = 10
"""The registry checks the password at every request."""

# A failing statement is logged with its text, and this one holds a password.
OWNER_SQL = """\
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE wharf_owner LOGIN CREATEROLE PASSWORD '{password}';
ALTER DATABASE wharf OWNER TO wharf_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea),
  lo_put(oid, bigint, bytea) FROM PUBLIC;
GRANT SET ON PARAMETER temp_file_limit TO wharf_owner;
"""


def write_secrets(path: Path) -> None:
    """Make what is missing in ``path``.

    Raises:
        SetupError: the directory or the CA in it cannot be used.
    """
    directory = PrivateDirectory.open(path)
    try:
        drawn = directory.passwords((*POSTGRES, *(f"broker {user}" for user in RULES), *OTHERS))
        vault = PrivateKey.parse(
            _keep(directory, "vault.private", lambda: PrivateKey.generate().text()).split()[0]
        )
        _keep(directory, "join.token", str)
        authority = _keep_authority(directory.path)
        files = {
            **_database_files(drawn),
            **_broker_files(drawn),
            "vault.public": str(vault.public),
            "ca.sha256": authority.fingerprint,
            "admin.key": f"wharf_{drawn['admin key']}",
            "flower.login": f"{USER}:{drawn['flower login']}",
            **_registry_files(drawn["registry login"]),
        }
        for name, text in files.items():
            _write(directory, name, text)
    finally:
        directory.close()


def _database_files(drawn: Mapping[str, str]) -> dict[str, str]:
    def url(role: str) -> str:
        return f"postgresql://{role}:{drawn[role]}@postgres:5432/wharf"

    return {
        "postgres.password": drawn["postgres"],
        "owner.sql": OWNER_SQL.format(password=drawn["wharf_owner"]),
        "owner.database.url": url("wharf_owner"),
        "api.database.url": url("wharf_api"),
        "api.database.password": drawn["wharf_api"],
        "control.database.url": url("wharf_control"),
        "control.database.password": drawn["wharf_control"],
    }


def _broker_files(drawn: Mapping[str, str]) -> dict[str, str]:
    passwords = {user: drawn[f"broker {user}"] for user in RULES}
    urls = {
        f"{user}.broker.url": f"redis://{user}:{passwords[user]}@redis:6379/0" for user in RULES
    }
    return {"users.acl": make_access_list(passwords), **urls}


def _registry_files(password: str) -> dict[str, str]:
    proof = bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()
    return {"registry.password": password, "registry.htpasswd": f"{USER}:{proof}\n"}


def _keep_authority(path: Path) -> Authority:
    exists = (path / CERTIFICATE).exists() or (path / KEY).exists()
    authority = Authority.open(path) if exists else Authority.create(path)
    for name in (CERTIFICATE, KEY):
        (path / name).chmod(0o644)
    return authority


def _keep(directory: PrivateDirectory, name: str, make: Callable[[], str]) -> str:
    path = directory.path / name
    if not path.exists():
        _write(directory, name, make())
    return path.read_text()


def _write(directory: PrivateDirectory, name: str, text: str) -> None:
    directory.write(name, text).chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(prog="wharf secrets", description=__doc__)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    try:
        write_secrets(arguments.directory)
    except SetupError as error:
        sys.exit(f"wharf secrets: {in_sentences(error.message, error.remedy)}")


if __name__ == "__main__":
    main()
