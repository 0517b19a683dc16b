"""Every command with words that differ in one parameter each, or the test that gives it."""

from dataclasses import dataclass
from pathlib import Path

from tests.api.field_probes import DIGEST, SCANNED

TESTS = Path(__file__).parent
COMMON = {"context", "as_json", "quiet"}
"""Every command that shows something has these; `test_json` gives them to all."""


@dataclass(frozen=True)
class ElsewhereTested:
    """A test that gives the option and sees what it does; the file is one of this folder."""

    file: str
    name: str


@dataclass(frozen=True)
class Command:
    """Good words, and for each parameter words that differ in it alone, or the test that has it."""

    words: list[str]
    changes: dict[str, list[str] | ElsewhereTested]


APPLICATIONS = "commands/applications"
REGISTRIES = "commands/registries"
WORK = "commands/work"

UP = ElsewhereTested(
    "../../worker/local/test_up.py", "test_up_prints_its_key_once_and_finds_its_data_again"
)
UP_LISTEN = ElsewhereTested(
    "../../worker/local/test_up.py",
    "test_up_publishes_nothing_in_clear_where_other_servers_may_join",
)
VAULT_TESTS = "../../worker/vault/test_rotate.py"
VAULT = ElsewhereTested(VAULT_TESTS, "test_the_data_directory_of_wharf_up_has_the_keys")
VAULT_PREPARE = ElsewhereTested(
    VAULT_TESTS, "test_an_old_key_is_removed_once_nothing_is_sealed_to_it"
)
CA_TESTS = "../../worker/local/tls/test_commands.py"
CA = ElsewhereTested(CA_TESTS, "test_a_ca_is_created_shown_and_issues_certificates")
CA_SERVED = ElsewhereTested(
    CA_TESTS, "test_served_certificates_renew_themselves_and_a_stop_is_clean"
)
BACKUP = ElsewhereTested(
    "../../worker/backup/test_commands.py", "test_a_backup_is_made_and_restored_by_commands"
)
API = ElsewhereTested("test_options.py", "test_the_api_listens_where_its_options_say")
AUDIT = "commands/accounts/test_audit.py"
AUDIT_FILE = ElsewhereTested(AUDIT, "test_an_exported_file_is_verified_and_each_change_of_it_found")
AUDIT_TRUST = ElsewhereTested(AUDIT, "test_only_the_given_key_and_hash_count")
SPREADSHEET = "test_a_spreadsheet_runs_no_cell_of_the_log"
YES = ElsewhereTested("test_confirm.py", "test_what_deletes_is_refused_without_a_terminal_and_yes")
LOGIN = ElsewhereTested("test_login.py", "test_a_profile_is_stored_after_it_was_checked")
LOGOUT = ElsewhereTested("test_login.py", "test_a_profile_is_removed")
LOGS = ElsewhereTested(
    f"{APPLICATIONS}/test_application.py", "test_the_output_of_an_application_is_written"
)
UPLOAD = ElsewhereTested(
    f"{APPLICATIONS}/test_application.py", "test_an_archive_is_stored_and_built_from"
)
DEPLOY_KEY = ElsewhereTested(
    f"{APPLICATIONS}/test_deploy_key.py",
    "test_a_key_is_made_and_shown_again_and_the_host_is_pinned",
)
CONTROLLED = ElsewhereTested(
    f"{APPLICATIONS}/test_application.py", "test_an_operator_sees_the_state_on_each_server"
)
BUILT = ElsewhereTested(
    f"{APPLICATIONS}/test_build.py", "test_the_exit_code_says_how_the_build_ended"
)
DEPLOYED = ElsewhereTested(
    f"{APPLICATIONS}/test_deploy.py", "test_the_exit_code_says_how_the_deployment_ended"
)
ROLLED_BACK = ElsewhereTested(
    f"{APPLICATIONS}/test_deploy.py", "test_an_operator_rolls_back_to_what_ran_before"
)
ROTATE = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py", "test_an_operator_rotates_a_password_that_no_argument_shows"
)
SHOW_REGISTRY = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py", "test_the_life_of_a_login_is_shown"
)
TEST_REGISTRY = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py",
    "test_a_test_shows_its_stages_and_what_the_login_may_do_beyond_need",
)
TEST_LIVE = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py",
    "test_a_test_that_is_waited_for_writes_its_stages_as_they_end",
)
RETRIED = ElsewhereTested(
    f"{WORK}/test_job.py", "test_a_job_that_failed_is_repeated_and_waited_for"
)
DRAINED = ElsewhereTested("commands/servers/test_server.py", "test_a_drained_server_is_waited_for")
MATRIX = ElsewhereTested(
    f"{REGISTRIES}/test_matrix.py", "test_all_registries_are_tested_from_all_servers"
)
UPDATE_REGISTRY = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py", "test_a_change_that_breaks_a_use_names_it_and_is_forced"
)
REMOVE_REGISTRY = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py", "test_a_used_registry_is_removed_by_force_alone"
)
ROTATE_CANCEL = ElsewhereTested(f"{REGISTRIES}/test_registry.py", "test_a_rotation_is_cancelled")
ROTATE_BACK = ElsewhereTested(
    f"{REGISTRIES}/test_registry.py", "test_the_old_password_is_brought_back"
)
PASSWORDS = ElsewhereTested(
    f"{REGISTRIES}/test_passwords.py", "test_a_password_comes_from_a_file_or_standard_input"
)
CHECKED = ElsewhereTested("commands/servers/test_server.py", "test_the_path_to_a_server_is_checked")
APPROVED = ElsewhereTested(
    "commands/servers/test_server.py",
    "test_a_server_is_approved_with_the_database_url_of_control_alone",
)
COMPLETED = ElsewhereTested("test_completion.py", "test_the_name_of_a_registry_is_completed")
SECRETS = ElsewhereTested("test_options.py", "test_secrets_go_where_the_options_say")
TAGGED = ElsewhereTested(f"{WORK}/test_image.py", "test_an_image_gets_another_name")
LISTED = ElsewhereTested(f"{WORK}/test_image.py", "test_the_names_in_a_registry_are_listed")
INSPECTED = ElsewhereTested(f"{WORK}/test_image.py", "test_an_image_is_inspected")
SIGNED = ElsewhereTested(f"{WORK}/test_image.py", "test_an_image_is_signed_and_verified")
KEYS = "commands/accounts/test_signing_key.py"
MADE_KEY = ElsewhereTested(KEYS, "test_a_key_is_made_shown_retired_and_removed")
SET_POLICY = ElsewhereTested(KEYS, "test_a_policy_is_changed_in_the_parts_that_are_given")
WAITED = ElsewhereTested(f"{WORK}/test_image.py", "test_the_exit_code_says_how_the_job_ended")
PINNED = ElsewhereTested(f"{WORK}/test_compose.py", "test_the_pinned_file_is_written")
PAGED = ElsewhereTested(f"{WORK}/test_job.py", "test_jobs_are_shown_by_page")

RESET = ElsewhereTested(
    "commands/accounts/test_user.py", "test_a_person_gets_a_link_for_a_new_password"
)
RECOVERED = ElsewhereTested(
    "commands/accounts/test_user.py",
    "test_the_last_owner_gets_in_again_with_the_database_url_of_control_alone",
)
PEOPLE = ElsewhereTested(
    "commands/accounts/test_user.py", "test_a_person_is_invited_gets_a_role_and_is_removed"
)

COMMIT = "a" * 40
ARGUMENTS = {
    *("application", "archive", "build", "deployment", "delivery", "directory", "file", "hook"),
    *(
        "image",
        "job",
        "key",
        "signing_key",
        "keys",
        "name",
        "point",
        "registry",
        "repository",
        "server",
    ),
    *("shell", "source", "target"),
    *("email", "invitation", "thing", "url", "user", "webhook"),
}
"""Given by their place."""

BOB = ["--username", "bob", "--password-file", "$text_file"]
REGISTRY_FILES = {
    "credential_file": ["--credential-file", "$json_file"],
    "ca_file": ["--ca-file", "$pem_file"],
    "client_certificate_file": ["--client-certificate-file", "$pem_file"],
    "client_key_file": ["--client-key-file", "$pem_file"],
    "plain_http": ["--plain-http"],
    "install_ca": ["--install-ca"],
}
SETTINGS = {
    "description": ["--description", "other"],
    "image": ["--image", "ghcr.io/a/b:2"],
    "git_url": ["--git-url", "https://git.example/b.git"],
    "git_branch": ["--git-branch", "other"],
    "server": ["--server", "$server"],
    "build_server": ["--build-server", "$server"],
    "registry": ["--registry", "$registry"],
    "build_registry": ["--build-registry", "$registry"],
    "rollback_registry": ["--rollback-registry", "$registry"],
    "port": ["--port", "8080:80"],
    "runtime": ["--runtime", "none"],
    "replicas": ["--replicas", "2"],
    "fields": ["--from", "$json_file"],
}


def after(
    words: list[str], options: dict[str, list[str]]
) -> dict[str, list[str] | ElsewhereTested]:
    """Return the words with each option at their end."""
    return {name: [*words, *option] for name, option in options.items()}


COMMANDS = {
    "login": Command([], dict.fromkeys(("url", "profile", "key_file", "key_stdin"), LOGIN)),
    "logout": Command([], {"profile": LOGOUT}),
    "whoami": Command([], {}),
    "open": Command(["kept"], {"thing": ["nothing"]}),
    "completion": Command([], {"shell": COMPLETED}),
    "up": Command([], {"data_dir": UP, "port": UP, "listen": UP_LISTEN}),
    "demo": Command([], {}),
    "api": Command([], {"host": API, "port": API}),
    "control": Command([], {}),
    "worker": Command([], {}),
    "migrate": Command([], {}),
    "secrets": Command([], {"directory": SECRETS}),
    "build": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "tag": ["kept", "--tag", "2"],
            "branch": ["kept", "--branch", "other"],
            "commit": ["kept", "--commit", COMMIT],
            "title": ["kept", "--title", "other"],
            "key": ["kept", "--key", "one"],
            "wait": BUILT,
        },
    ),
    "builds list": Command(
        ["kept"], {"application": ["nothing"], "limit": ["kept", "--limit", "1"]}
    ),
    "builds show": Command(["$build"], {"build": ["nothing"]}),
    "builds cancel": Command(["$build"], {"build": ["nothing"]}),
    "deploy": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "build_id": ["kept", "--build", "nothing"],
            "tag": ["kept", "--tag", "2"],
            "branch": ["kept", "--branch", "other"],
            "commit": ["kept", "--commit", COMMIT],
            "title": ["kept", "--title", "other"],
            "key": ["kept", "--key", "two"],
            "wait": DEPLOYED,
        },
    ),
    "deployments list": Command(
        [],
        {
            "application": ["kept"],
            "server": ["--server", "$server"],
            "limit": ElsewhereTested(
                f"{APPLICATIONS}/test_deployments.py", "test_the_newest_deployments_are_listed"
            ),
        },
    ),
    "deployments show": Command(["$deployment"], {"deployment": ["nothing"]}),
    "deployments cancel": Command(["$deployment"], {"deployment": ["nothing"]}),
    "deployments logs": Command(
        ["$deployment"], {"deployment": ["nothing"], "tail": ["$deployment", "--tail", "1"]}
    ),
    "rollback": Command(
        ["kept", "--to", "$point"],
        {
            "application": ["image", "--to", "$point"],
            "point": ["kept", "--to", "nothing"],
            "key": ["kept", "--to", "$point", "--key", "three"],
            "wait": ROLLED_BACK,
        },
    ),
    "rollbacks list": Command(
        ["kept"], {"application": ["nothing"], "verify": ["kept", "--verify"]}
    ),
    "rollbacks remove": Command(
        ["kept", "nothing", "--yes"],
        {
            "application": ["image", "$point", "--yes"],
            "point": ["kept", "$point", "--yes"],
            "yes": YES,
        },
    ),
    **{
        f"app {action}": Command(
            ["kept"],
            {
                "application": ["nothing"],
                "key": ["kept", "--key", f"key of {action}"],
                "wait": CONTROLLED,
            },
        )
        for action in ("stop", "start", "restart")
    },
    "app list": Command([], {}),
    "app show": Command(["kept"], {"application": ["nothing"]}),
    "app create": Command(
        ["one"],
        {"name": ["two"], "app_name": ["one", "--app-name", "three"], **after(["one"], SETTINGS)},
    ),
    "app update": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "name": ["kept", "--name", "other"],
            "env_file": ["kept", "--env-file", "$text_file"],
            **after(["kept"], SETTINGS),
        },
    ),
    "app remove": Command(
        ["nothing", "--yes"], {"application": ["$application", "--yes"], "yes": YES}
    ),
    "app upload": Command([], dict.fromkeys(("application", "archive"), UPLOAD)),
    "app logs": Command([], dict.fromkeys(("application", "tail", "since", "search"), LOGS)),
    "deploy-hook list": Command(["kept"], {"application": ["nothing"]}),
    "deploy-hook create": Command(
        ["kept"],
        {
            "application": ["nothing"],
            "tags": ["kept", "--tags", "v*"],
            "branch": ["kept", "--branch", "main"],
            "path": ["kept", "--path", "src/*"],
            "require_signature": ["kept", "--require-signature"],
        },
    ),
    "deploy-hook remove": Command(
        ["image", "nothing", "--yes"],
        {
            "application": ["kept", "$hook", "--yes"],
            "hook": ["image", "$hook", "--yes"],
            "yes": YES,
        },
    ),
    "deploy-key": Command(["kept"], {"application": DEPLOY_KEY, "show_only": ["kept", "--show"]}),
    "host-key": Command([], dict.fromkeys(("application", "keys"), DEPLOY_KEY)),
    "doctor": Command([], {}),
    "resume": Command([], {"show_only": ["--list"]}),
    "backup": Command(
        [], dict.fromkeys(("file", "passphrase_file", "data_dir", "contexts"), BACKUP)
    ),
    "restore": Command(
        [], dict.fromkeys(("file", "passphrase_file", "data_dir", "replace"), BACKUP)
    ),
    "vault rotate": Command([], {"data_dir": VAULT, "prepare": VAULT_PREPARE}),
    "vault remove-old": Command([], {"data_dir": VAULT}),
    "ca create": Command([], {"directory": CA}),
    "ca show": Command([], {"directory": CA}),
    "ca issue": Command([], dict.fromkeys(("directory", "name", "host"), CA)),
    "ca serve": Command(
        [],
        dict.fromkeys(
            ("directory", "host", "certificates", "database", "broker", "flower"), CA_SERVED
        ),
    ),
    "organization show": Command([], {}),
    "quota": Command([], {}),
    "organization update": Command(
        [],
        {
            "rotate_after_days": ["--rotate-after-days", "30"],
            "network": ["--network", "0.0.0.0/0"],
            "server_network": ["--server-network", "10.0.0.0/8"],
            "force": ["--force"],
        },
    ),
    "registry list": Command([], {}),
    "registry show": Command([], {"registry": SHOW_REGISTRY}),
    "registry create": Command(
        ["one", "ghcr.io", *BOB],
        {
            "name": ["two", "ghcr.io", *BOB],
            "url": ["one", "quay.io", *BOB],
            **after(
                ["one", "ghcr.io", *BOB],
                {
                    "prefix": ["--prefix", "team"],
                    "allow_server": ["--allow-server", "$server"],
                    "allow_application": ["--allow-application", "kept"],
                    "rotate_after_days": ["--rotate-after-days", "30"],
                    **REGISTRY_FILES,
                },
            ),
            "username": ["one", "ghcr.io", "--username", "alice", *BOB[2:]],
            "password_file": ["one", "ghcr.io", *BOB[:2], "--password-file", "$json_file"],
            "password_stdin": PASSWORDS,
        },
    ),
    "registry rotate": Command(
        [],
        {
            **dict.fromkeys(("registry", "username", "keep", "force"), ROTATE),
            **dict.fromkeys(("password_file", "password_stdin"), PASSWORDS),
        },
    ),
    "registry test": Command(
        [], {**dict.fromkeys(("registry", "server"), TEST_REGISTRY), "wait": TEST_LIVE}
    ),
    "registry matrix": Command(
        [],
        {
            "registry": ["--registry", "$registry"],
            "server": ["--server", "$server"],
            "test": MATRIX,
        },
    ),
    "registry update": Command(
        ["$registry"],
        {
            **dict.fromkeys(
                (
                    *("registry", "name", "url", "username", "prefix", "allow_server"),
                    *("allow_application", "rotate_after_days", "password", "force"),
                ),
                UPDATE_REGISTRY,
            ),
            **after(["$registry"], REGISTRY_FILES),
            **dict.fromkeys(("password_file", "password_stdin"), PASSWORDS),
        },
    ),
    "registry remove": Command(
        [], {**dict.fromkeys(("registry", "force"), REMOVE_REGISTRY), "yes": YES}
    ),
    "registry cancel": Command([], {"registry": ROTATE_CANCEL}),
    "registry rollback": Command([], {"registry": ROTATE_BACK}),
    "server list": Command([], {}),
    "server show": Command(["$server"], {"server": ["nothing"]}),
    **{
        f"server {verb}": Command(
            [f"{verb}-1"],
            {
                "name": [f"{verb}-2"],
                "role": [f"{verb}-3", "--role", "build"],
                "description": [f"{verb}-1", "--description", "other"],
                "address": [f"{verb}-1", "--address", "10.0.0.1"],
                "renew": [f"{verb}-1", "--renew"],
            },
        )
        for verb in ("create", "add")
    },
    "server update": Command(
        ["create-1"],
        {
            "server": ["nothing"],
            "name": ["create-1", "--name", "create-1"],
            "role": ["create-1", "--role", "build"],
            "description": ["create-1", "--description", "other"],
            "address": ["create-1", "--address", "10.0.0.1"],
            "network": ["create-1", "--network", "10.0.0.0/8"],
        },
    ),
    "server pause": Command(
        ["create-1"], {"server": ["nothing"], "job_class": ["create-1", "--class", "build"]}
    ),
    "server drain": Command(["create-1"], {"server": ["nothing"], "wait": DRAINED}),
    "server resume": Command(
        ["create-1"], {"server": ["nothing"], "job_class": ["create-1", "--class", "build"]}
    ),
    "server check": Command(["create-1"], {"server": ["nothing"], "path": CHECKED}),
    "server approve": Command([], {"server": APPROVED}),
    "server remove": Command(["nothing", "--yes"], {"server": ["create-1", "--yes"], "yes": YES}),
    "image push": Command(
        ["a:1", "--to", "$registry"],
        {
            "image": ["b:1", "--to", "$registry"],
            "to": ["a:1", "--to", "nothing"],
            "server": ["a:1", "--to", "$registry", "--server", "$server"],
            "name": ["a:1", "--to", "$registry", "--name", "b"],
            "tag": ["a:1", "--to", "$registry", "--tag", "2"],
            "key": ["a:1", "--to", "$registry", "--key", "push"],
            "wait": WAITED,
        },
    ),
    "image pull": Command(
        ["ghcr.io/a/b:1"],
        {
            "image": ["ghcr.io/a/b:2"],
            "server": ["ghcr.io/a/b:1", "--server", "$server"],
            "source": ["ghcr.io/a/b:1", "--from", "$registry"],
            "key": ["ghcr.io/a/b:1", "--key", "pull"],
            "wait": WAITED,
        },
    ),
    "image copy": Command(
        ["ghcr.io/a/b:1", "--to", "$registry"],
        {
            "image": ["ghcr.io/a/b:2", "--to", "$registry"],
            "to": ["ghcr.io/a/b:1", "--to", "nothing"],
            **after(
                ["ghcr.io/a/b:1", "--to", "$registry"],
                {
                    "source": ["--from", "$registry"],
                    "server": ["--server", "$server"],
                    "name": ["--name", "c"],
                    "tag": ["--tag", "2"],
                    "key": ["--key", "copy"],
                },
            ),
            "wait": WAITED,
        },
    ),
    "image tag": Command([], dict.fromkeys(("source", "target", "server", "key"), TAGGED)),
    "image ls": Command(
        [], dict.fromkeys(("registry", "repository", "limit", "after", "server"), LISTED)
    ),
    "image inspect": Command([], dict.fromkeys(("image", "source", "server"), INSPECTED)),
    "sbom search": Command(
        ["openssl"],
        {
            "name": ["other"],
            **after(["openssl"], {"below": ["--below", "0.1"], "application": ["--app", "image"]}),
        },
    ),
    "sbom packages": Command([SCANNED], {"digest": [DIGEST]}),
    "image sign": Command(
        [],
        dict.fromkeys(("image", "to", "signing_key", "form", "server", "key"), SIGNED),
    ),
    "image verify": Command(
        [],
        dict.fromkeys(("image", "application", "signing_key", "source", "server"), SIGNED),
    ),
    "signing-key list": Command([], {}),
    "signing-key show": Command([], dict.fromkeys(("signing_key", "output"), MADE_KEY)),
    "signing-key create": Command([], dict.fromkeys(("name", "public_key", "output"), MADE_KEY)),
    "signing-key retire": Command([], {"signing_key": MADE_KEY}),
    "signing-key remove": Command([], {"signing_key": MADE_KEY, "yes": YES}),
    "policy show": Command([], {"application": SET_POLICY}),
    "policy set": Command(
        [],
        dict.fromkeys(
            (
                *("application", "mode", "signing_key", "predicate_type", "base_registry"),
                *("publisher", "inherit"),
            ),
            SET_POLICY,
        ),
    ),
    "compose pull": Command(
        ["$compose_file"],
        {
            "file": ["$text_file"],
            **after(
                ["$compose_file"],
                {
                    "server": ["--server", "$server"],
                    "registry": ["--registry", "$registry"],
                    "env_file": ["--env-file", "$text_file"],
                    "profile": ["--profile", "debug"],
                    "key": ["--key", "compose"],
                },
            ),
            "wait": PINNED,
        },
    ),
    "job list": Command(
        [],
        {
            "state": ["--state", "failed"],
            "server": ["--server", "$server"],
            "kind": ["--kind", "image.push"],
            "registry": ["--registry", "$registry"],
            "application": ["--app", "kept"],
            "limit": ["--limit", "1"],
            "cursor": PAGED,
        },
    ),
    "job show": Command(["$job"], {"job": ["nothing"]}),
    "job watch": Command(["$job"], {"job": ["nothing"]}),
    "job cancel": Command(["$job"], {"job": ["nothing"]}),
    "job retry": Command(["$job"], {"job": ["nothing"], "wait": RETRIED}),
    "job logs": Command(["$job"], {"job": ["nothing"]}),
    "webhook list": Command([], {}),
    "webhook show": Command(["$webhook"], {"webhook": ["nothing"]}),
    "webhook create": Command(
        ["https://a.example/"],
        {
            "url": ["https://b.example/"],
            "event": ["https://a.example/", "--event", "job.ended"],
        },
    ),
    "webhook update": Command(
        ["$webhook"],
        {
            "webhook": ["nothing"],
            "url": ["$webhook", "--url", "https://a.example/b"],
            "event": ["$webhook", "--event", "job.ended"],
            "enabled": ["$webhook", "--disable"],
        },
    ),
    "webhook remove": Command(["nothing", "--yes"], {"webhook": ["$webhook", "--yes"], "yes": YES}),
    "webhook deliveries": Command(
        ["$subscribed"], {"webhook": ["nothing"], "limit": ["$subscribed", "--limit", "1"]}
    ),
    "webhook redeliver": Command(
        ["$subscribed", "$delivery"],
        {"webhook": ["nothing", "$delivery"], "delivery": ["$subscribed", "nothing"]},
    ),
    "key list": Command([], {}),
    "key create": Command(
        ["one"],
        {
            "name": ["two"],
            "role": ["one", "--role", "viewer"],
            "procedure": ["one", "--procedure", "image.*"],
            "network": ["one", "--network", "10.0.0.0/8"],
            "application": ["one", "--application", "kept"],
            "days": ["one", "--days", "90"],
        },
    ),
    "user list": Command([], {}),
    "user invite": Command([], {"email": ["a@b.example"], "role": ["--role", "viewer"]}),
    "user invitations": Command([], {}),
    "user uninvite": Command(
        ["nothing", "--yes"], {"invitation": ["a@b.example", "--yes"], "yes": YES}
    ),
    "user update": Command([], dict.fromkeys(("user", "role"), PEOPLE)),
    "user limit": Command([], dict.fromkeys(("user", "network", "force"), PEOPLE)),
    "user reset": Command([], {"user": RESET}),
    "user recover": Command([], {"email": RECOVERED}),
    "user remove": Command([], {"user": PEOPLE, "yes": YES}),
    "audit list": Command(
        [],
        {
            "action": ["--action", "registry.create"],
            "thing": ["--of", "$registry"],
            "actor": ["--by", "$own_key"],
            "limit": ["--limit", "1"],
            "cursor": ["--cursor", "1"],
        },
    ),
    "audit export": Command(
        [], {"file": AUDIT_FILE, "form": ElsewhereTested(AUDIT_FILE.file, SPREADSHEET)}
    ),
    "audit verify": Command(
        [], {"file": AUDIT_FILE, "public_key": AUDIT_TRUST, "known": AUDIT_TRUST}
    ),
    "key remove": Command(["nothing", "--yes"], {"key": ["two", "--yes"], "yes": YES}),
}
