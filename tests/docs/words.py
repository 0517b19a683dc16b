"""Explanations in the reference pages of settings, codes, reasons and metrics."""

SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "WHARF_DATABASE_URL": (
        ("`wharf server approve`", "`wharf user recover`", "`wharf up`"),
        (
            "The database: `postgresql://role:password@host/wharf`. Each role has its own: "
            "`wharf_owner` for migrate, `wharf_api` for the API, `wharf_control` for control."
        ),
    ),
    "WHARF_DATABASE_DIRECT_URL": (
        (),
        "The same database without a pooler in between. It is used for LISTEN and migrations.",
    ),
    "WHARF_API_DATABASE_PASSWORD": (
        (),
        "The password for the role `wharf_api`. If it is not set, the role keeps its password.",
    ),
    "WHARF_CONTROL_DATABASE_PASSWORD": (
        (),
        "The password for the role `wharf_control`. If it is not set, the role keeps its password.",
    ),
    "WHARF_BROKER_URL": (
        ("`wharf up`",),
        (
            "The broker: `redis://user:password@host:6379/0`. The API uses it for its rate limit "
            "and has no rate limit without it. A worker needs it only where servers share a "
            "broker user."
        ),
    ),
    "WHARF_BROKER_ADMIN_URL": (
        ("`wharf up`",),
        (
            "The broker, for a user that may create users. Control then gives each server a "
            "broker user of its own. Only control gets it."
        ),
    ),
    "WHARF_API_RATE_PER_MINUTE": (
        (),
        "The number of calls that an API key may make in a minute. 0 is any number.",
    ),
    "WHARF_API_RATE_PER_ORGANIZATION": (
        (),
        (
            "The number of calls that an organization may make in a minute. By default ten "
            "times `WHARF_API_RATE_PER_MINUTE`. 0 is any number."
        ),
    ),
    "WHARF_API_RATE_PER_ADDRESS": (
        (),
        (
            "The number of calls that may come from an address in a minute, also with wrong keys. "
            "By default ten times `WHARF_API_RATE_PER_MINUTE`. 0 is any number. Behind a proxy "
            "all callers share one address, unless `WHARF_TRUSTED_PROXIES` names the proxy."
        ),
    ),
    "WHARF_DATA_DIR": (
        (),
        (
            "The directory for uploaded build contexts. All API processes need the same one. "
            "Without it, uploads are refused. `wharf up` and `compose.yaml` set it."
        ),
    ),
    "WHARF_CONTEXT_MAX_BYTES": ((), "The largest upload."),
    "WHARF_CONTEXT_QUOTA_BYTES": (
        (),
        (
            "The bytes of uploads that one organization may keep. More is answered 413 "
            "(`quota_exceeded`). 0 is any number."
        ),
    ),
    "WHARF_QUOTA_APPLICATIONS": (
        (),
        (
            "The number of applications that one organization may have. More is answered 409 "
            "(`quota_exceeded`). 0 is any number."
        ),
    ),
    "WHARF_QUOTA_QUEUED_JOBS": (
        (),
        (
            "The number of jobs of one organization that have not ended. More is answered 429 "
            "(`queue_full`). 0 is any number. Requests that come at once may pass it a little."
        ),
    ),
    "WHARF_QUOTA_STREAMS": (
        (),
        (
            "The number of event streams that one organization may have open at one API process. "
            "More is answered 429 (`too_many_at_once`). By default, and at most, half of all that "
            "the process serves."
        ),
    ),
    "WHARF_QUOTA_WEBHOOKS": (
        (),
        (
            "The number of webhooks that one organization may have. More is answered 409 "
            "(`quota_exceeded`). 0 is any number. Each webhook makes the end of a job slower."
        ),
    ),
    "WHARF_TRUSTED_PROXIES": (
        (),
        (
            "The addresses and networks of proxies in front of the API, separated by commas. What "
            "they say of a caller (`X-Forwarded-For`, `X-Forwarded-Proto`) counts: limits are by "
            "the caller's address, and cookies of the console are `Secure` if the proxy has TLS. "
            "Without it all callers behind a proxy share its address and the limits of that "
            "address. The proxy has to keep the header `Host`."
        ),
    ),
    "WHARF_TLS_CERTIFICATE": (
        (),
        (
            "A PEM file with the certificate of the API and its chain: the API then serves HTTPS "
            "only. A changed file is used for new connections within a second."
        ),
    ),
    "WHARF_CERTIFICATE_SECONDS": (
        ("`wharf up`",),
        (
            "How long each certificate of the internal CA is valid. It is renewed after two thirds "
            "of that time."
        ),
    ),
    "WHARF_CA_CERTIFICATE": (
        (),
        (
            "The PEM file of the internal CA's certificate. The API serves it at `/ca.pem`, and "
            "join commands pin it."
        ),
    ),
    "WHARF_TLS_KEY": ((), "The PEM file with the key of that certificate, without a passphrase."),
    "WHARF_ALLOW_PLAIN_HTTP": (
        (),
        (
            "`true`: the API serves plain HTTP on addresses that other machines reach. For a proxy "
            "that does TLS in front of it. Without it such an address needs a certificate."
        ),
    ),
    "WHARF_PUBLIC_URL": (
        (),
        (
            "The address at which people open the API, for example `https://wharf.example.com`. "
            "The OIDC provider sends them back to it. Without a provider it is not needed."
        ),
    ),
    "WHARF_OIDC_ISSUER": (
        (),
        (
            "The OpenID Connect provider by which people sign in to the console. `wharf migrate` "
            "and the API need the same three settings of it."
        ),
    ),
    "WHARF_OIDC_CLIENT_ID": ((), "The client that the provider knows the API as."),
    "WHARF_OIDC_CLIENT_SECRET": (
        (),
        "The client's secret. The database keeps only a hash that is made of it.",
    ),
    "WHARF_OIDC_NAME": ((), "The provider's name on the button."),
    "WHARF_FLOWER_URL": (
        ("`wharf up`",),
        (
            "The address at which people open Flower, for example `https://flower.example.com`. "
            "With it, `job.one` has a `flowerUrl`."
        ),
    ),
    "WHARF_CONNECTIONS": (
        (),
        (
            "The number of connections of one API process. It is lower if the process may not "
            "open enough files (`ulimit -n`)."
        ),
    ),
    "WHARF_CONNECTIONS_PER_ADDRESS": (
        (),
        (
            "How many of them one address may have. For IPv6 an address is a /64 network. If it "
            "is not set, it is half. Behind a proxy all clients have one address: set it to the "
            "value of `WHARF_CONNECTIONS`."
        ),
    ),
    "WHARF_VAULT_PUBLIC_KEY": (
        (),
        (
            "The key that passwords are sealed to. In a file (`WHARF_VAULT_PUBLIC_KEY_FILE`) it is "
            "read again when it changes."
        ),
    ),
    "WHARF_VAULT_PRIVATE_KEY": (
        (),
        (
            "The key that opens passwords. Only control gets it. Several, separated by spaces, "
            "while the key is changed: the current one first. "
            "`wharf vault rotate` needs them in a file (`WHARF_VAULT_PRIVATE_KEY_FILE`)."
        ),
    ),
    "WHARF_AUTO_APPROVE": (
        (),
        "`true`: a server that joins is approved at once. `false`: by `wharf server approve`.",
    ),
    "WHARF_MACHINE_IDENTITY": (
        (),
        (
            "`true`: a registry's credential may use the identity of control's machine: at AWS, "
            "and by tokens in its files and URLs for Google and Azure. Then every administrator of "
            "every organization can use it. `false`: it is refused."
        ),
    ),
    "WHARF_JOB_RETENTION_DAYS": (
        (),
        (
            "How long a job is kept after its end. It also counts for uploaded contexts, and for "
            "the pushes that a deploy hook received."
        ),
    ),
    "WHARF_EVENT_RETENTION_DAYS": (
        (),
        "How long the events of a job and the messages of webhooks are kept.",
    ),
    "WHARF_AUDIT_ARCHIVE_DIR": (
        (),
        (
            "The directory to which control moves old entries of the audit log, as files that can "
            "be verified. Without it all entries stay in the database."
        ),
    ),
    "WHARF_AUDIT_RETENTION_DAYS": (
        (),
        "How long entries of the audit log stay in the database, if there is an archive.",
    ),
    "WHARF_AUDIT_FORWARD": (
        (),
        (
            "Where new entries of the audit log are sent: `file:///PATH`, "
            "`syslog+tcp://HOST:PORT`, `syslog+tls://HOST:PORT` or `https://HOST/PATH`; more than "
            "one separated by commas."
        ),
    ),
    "WHARF_AUDIT_FORWARD_TOKEN": (
        (),
        "The bearer token for an `https://` URL of `WHARF_AUDIT_FORWARD`.",
    ),
    "WHARF_ADMIN_KEY": ((), "The first administrator's key. It is taken at the first start."),
    "WHARF_REGISTRY_NETWORKS": (
        (),
        (
            "The networks that registries may be in: `public`, `private`, `loopback` and CIDRs. "
            "Link-local addresses and metadata services are never allowed."
        ),
    ),
    "WHARF_WEBHOOK_NETWORKS": (
        (),
        (
            "The same for the endpoints of webhooks. It is checked at each delivery. With "
            "`private`, an administrator of any organization can make control post to internal "
            "hosts, also without TLS. `wharf up` allows all three."
        ),
    ),
    "WHARF_SERVER_DATABASE_URL": (
        ("`wharf up`",),
        "The database address that a joining server gets. It holds no password.",
    ),
    "WHARF_SERVER_BROKER_URL": (
        ("`wharf up`",),
        (
            "The broker address that a joining server gets. It holds no password, and goes "
            "with `WHARF_BROKER_ADMIN_URL`."
        ),
    ),
    "WHARF_URL": (
        ("`wharf doctor`", "`wharf server`", "all commands that ask the API"),
        (
            "The address of the API. For commands, the default is `http://127.0.0.1:4747`. A "
            "worker keeps the address in its state directory. Another one given later replaces "
            "it."
        ),
    ),
    "WHARF_JOIN_TOKEN": ((), "The token that a worker joins with, once."),
    "WHARF_CA_SHA256": (
        (),
        (
            "The SHA-256 of the internal CA's certificate, from the join command. The worker then "
            "verifies the API, the database and the broker by that CA alone, and stores it in its "
            "state directory."
        ),
    ),
    "WHARF_API_KEY": (
        ("`wharf doctor`", "`wharf server`", "all commands that ask the API"),
        "The API key of commands.",
    ),
    "WHARF_PROFILE": (
        ("all commands that ask the API",),
        (
            "The name of a profile that `wharf login` stored. `WHARF_URL` and `WHARF_API_KEY` win "
            "over it."
        ),
    ),
    "WHARF_SERVER_ID": ((), "`wharf worker` sets it itself."),
    "WHARF_STATE_DIR": (
        (),
        "The directory for the worker's key and passwords (mode 0600), and for what it has begun.",
    ),
    "WHARF_DRAIN_SECONDS": (
        (),
        "How long SIGTERM waits before running jobs are given back to the queue.",
    ),
    "WHARF_HOST_PATHS": (
        ("`wharf up`",),
        "The directories of the host that containers may mount, separated by colons.",
    ),
    "WHARF_CERTIFICATES_DIR": (
        (),
        (
            "Where the Docker Engine looks for certificates of registries. The worker stores them "
            "there for registries with `installCa`."
        ),
    ),
    "DOCKER_HOST": (
        ("worker", "`wharf up`"),
        "The Docker Engine. The default is `unix:///var/run/docker.sock`.",
    ),
}

REASONS = {
    "restored": (
        "This job comes from a restored copy of the database and is held back. Cancel it "
        "if it must not run again. Then run `wharf resume` with `WHARF_URL` and the "
        "`WHARF_API_KEY` of an administrator: it releases all such jobs."
    ),
    "needs": "It waits for other jobs.",
    "server_removed": "Its server was removed.",
    "server_not_approved": "Its server is not approved. Run `wharf server approve NAME` "
    "where control runs.",
    "server_offline": "Its server is offline.",
    "server_draining": "The worker of its server is shutting down.",
    "worker_too_old": "The worker of its server does not know this kind of job. Update it.",
    "paused": "Its server is paused. Use `server.resume`.",
    "backoff": "It failed and is retried after a pause.",
    "same_target": "Another job works on the same target.",
    "credential_refused": (
        "The registry refuses the login. Store a new one with `registry.update`, or test it with "
        "`registry.testRegistryById`: a test goes through, and its success ends this."
    ),
    "credential_untested": (
        "The registry has yet to accept this login, or has refused it once. One job at a time "
        "tries it."
    ),
    "login_pending": (
        "Control has yet to get a login for the registry from its provider. The message has the "
        "error of the last attempt."
    ),
    "signatures_unchecked": (
        "A policy requires signatures, and control has yet to ask the registry for them. It takes "
        "some seconds."
    ),
    "quota": (
        "Its registry allows no more pulls now, or was asked too often. `until` is when one job "
        "tries again; the others follow when it succeeds. This is no failure."
    ),
    "server_limit": "Its server is at its limit of jobs of this class.",
    "registry_limit": "Its registry is at its limit of transfers.",
    "organization_limit": "Its organization is at its limit of transfers.",
}

SETTINGS_INTRODUCTION = """\
Settings are environment variables. Each may also be read from a file: `NAME_FILE` names it."""

CODES_INTRODUCTION = """\
Every error has a stable code. A failed job has it in `error.code`. An error answer has it in
`data.cause.code`, or shows it by its HTTP status. A code is never renamed after a release. An
attempt that failed with a retryable code is retried after a growing pause."""

PROCEDURES_INTRODUCTION = """\
Each procedure can be called by [three protocols](protocols.md). A query is a GET, a mutation a
POST. *Role* is the least that a key needs. [The API reference](/docs/api) also has the answers."""

COMMANDS_INTRODUCTION = """\
`wharf` starts the processes and asks the API. [The command line](../how-to/command-line.md) says
how to sign in, complete names in a shell and use commands in scripts.

Where a command asks for a registry, a server, an application or another thing, give its name, its
id, or the beginning of one if no other thing begins so.

These options are not repeated below:

| option | meaning |
|---|---|
| `--profile NAME` | before the command: use this stored profile |
| `--json` | write the API's answer as JSON; its schema is that of the procedure, see below |
| `--quiet`, `-q` | write ids only, one a line |
| `--help` | explain a command |

With `--json` nothing is added to the answer of the API, and nothing is left out. Each command names
its procedure; the schema of the answer is in `/openapi.json`.

A command ends with one of these codes:

| code | meaning |
|---|---|
| 0 | done; with `--wait`: it succeeded |
| 1 | refused or failed; standard error says why |
| 2 | an argument or option is wrong |
| 3 | with `--wait`: it was cancelled |
| 4 | with `--wait`: a newer build or deployment superseded it |
| 5 | with `--wait`: its deadline passed |"""

METRICS_INTRODUCTION = """\
`/metrics` is in the format of Prometheus. Counters have the suffix `_total`. "Recent" is the last
hour. The page is at most some seconds old, and the counters of ended jobs 15 seconds more.

Metrics of jobs, servers and control come from the database: every API process shows the same
values. Metrics of requests, connections and uploads are those of the process that answers. So add
up the latter over all API processes, and take the former from one:
`max without (instance) (rate(wharf_jobs_finished_total[5m]))`.

The labels have a bounded number of values: kinds, states, the product's own error codes (`other`
stands for all others), procedures and routes."""

MESSAGES_INTRODUCTION = """# Messages

{made}

Every message of the product, by the part that writes it. A word in braces stands for a value. The
second line of an entry says what to do about it. The [error codes](codes.md) have the causes that a
program can read.
"""

FAULTS_INTRODUCTION = """# Faults that were tried

{made}

`make faults` lets each operation meet each fault of a registry or of the server's Docker Engine:
test, pull, deploy, compose.pull, build, push, copy from and copy to. Faults are named by where they
strike: *ping* is the first request to a registry (`/v2/`), *token* is a fault of the server that
issues its tokens, and *no login* is a job without one. *Good* is a registry that is unusual and
works. The right codes were written down before the run; the remedy is
the general one of the first, where the registry's provider has no words of its own. *Right* is
an answer with one of these codes, or a success where the fault does not matter. *Generic* names
no cause, *misleading* a wrong one. *False ok* and *false alarm* are a success and a failure that
are none. The last column of the first table counts answers that came too late.
"""
