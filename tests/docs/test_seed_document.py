"""Each row of the document that the product implements, and the tests that prove it.

A row is named by its heading and its own words in the document. Each test must exist, be a test
and not be skipped by a mark.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PROVIDERS = "journeys/registries/test_providers.py"
SEED = "api/test_seed.py"
CLIENTS = "journeys/test_clients.py"
STORED = f"{SEED}::test_each_registry_of_the_seed_is_stored_and_shown_without_its_password"
USED = f"{PROVIDERS}::test_a_registry_of_the_seed_is_tested_pushed_to_pulled_from_and_deployed"
CURL = f"{CLIENTS}::test_every_curl_of_the_seed_works_as_pasted"
WORKFLOW = f"{CLIENTS}::test_the_seed_s_complete_workflow_runs_the_image_that_it_pushed"
DIAGNOSIS = "journeys/registries/test_diagnosis.py"
FAULTS = "faults/test_faults.py::test_each_operation_names_the_true_cause_of_a_fault"
GRANTS = "worker/control/credentials/test_grants.py"
SIGNED = "journeys/deployments/test_signatures.py"

ROWS: dict[str, tuple[str, ...]] = {
    "Registry Types: cloud, selfHosted": (STORED,),
    "Basic Settings: display name": (STORED,),
    "Basic Settings: registry URL, every spelling": (
        STORED,
        "shared/test_reference.py::test_every_spelling_of_docker_hub_is_one_registry",
    ),
    "Basic Settings: username and password": (
        "api/registries/test_procedures.py::test_any_password_is_kept_sealed_and_opens_to_what_was_given",
    ),
    "Basic Settings: prefix for image names": (
        "shared/test_reference.py::test_a_prefix_means_the_same_with_and_without_the_host",
        "api/images/test_procedures.py::test_a_push_goes_below_the_prefix",
    ),
    "Popular Registries: Docker Hub": (STORED, USED),
    "Popular Registries: GitHub Container Registry": (STORED, USED),
    "Popular Registries: AWS Elastic Container Registry": (
        STORED,
        USED,
        f"{PROVIDERS}::test_a_key_of_aws_gives_logins_to_an_engine_and_is_found_nowhere_on_the_server",
    ),
    "Popular Registries: Google Container Registry": (
        STORED,
        USED,
        f"{PROVIDERS}::test_a_key_of_google_is_found_nowhere_on_a_server_or_around_it",
    ),
    "Popular Registries: Azure Container Registry": (STORED, USED),
    "Popular Registries: Self-Hosted Registry": (STORED, USED),
    "AWS ECR: tokens expire after 12 hours, automated token refresh": (
        (
            "worker/control/credentials/test_minting.py::"
            "test_a_login_is_renewed_after_half_of_its_life_and_not_before"
        ),
        (
            f"{PROVIDERS}::"
            "test_transfers_outlive_their_tokens_while_control_is_killed_and_token_servers_are_down"
        ),
    ),
    "Testing: Test Before Creating": (f"{SEED}::test_a_test_before_creating_answers_true", CURL),
    "Testing: Test Existing Registry": (
        f"{SEED}::test_a_test_of_a_stored_registry_answers_true",
        CURL,
    ),
    "Managing: List All Registries": (STORED, CURL),
    "Managing: passwords are not returned": (STORED,),
    "Managing: Get Single Registry": (STORED, CURL),
    "Managing: Update Registry": (f"{SEED}::test_a_registry_is_updated_and_removed", CURL),
    "Managing: Delete Registry": (f"{SEED}::test_a_registry_is_updated_and_removed", CURL),
    "Using: For Pulling Images, a compose file": (
        "journeys/test_compose.py::test_a_compose_file_is_pinned_to_what_its_registry_holds",
    ),
    "Using: For Pushing Built Images": (
        f"{SEED}::test_an_application_names_where_to_push_pull_and_store_its_images",
        (
            "journeys/test_builds.py::"
            "test_a_pipeline_s_build_is_pushed_and_retained_and_pulled_by_its_digest_elsewhere"
        ),
    ),
    "Using: Rollback Registry": (
        (
            f"{SIGNED}::"
            "test_a_signed_index_is_retained_whole_and_runs_again_without_its_build_registry"
        ),
        "journeys/test_restore.py::test_what_was_backed_up_under_load_works_on_another_machine",
    ),
    "Using: Server-Specific Registries": (
        "journeys/test_main_job.py::test_each_server_proves_a_right_password_and_names_a_wrong_one",
        "journeys/registries/test_matrix.py::test_the_matrix_shows_which_server_lacks_the_ca",
    ),
    "Authentication: Username/Password": (
        "journeys/test_main_job.py::test_a_pushed_image_is_pulled_by_its_digest_on_another_server",
    ),
    "Authentication: Access Tokens": (
        (
            "api/registries/test_procedures.py::"
            "test_a_token_shows_when_it_expires_and_an_expired_one_is_named"
        ),
        USED,
    ),
    "Authentication: Service Accounts": (
        f"{PROVIDERS}::test_a_key_of_google_is_found_nowhere_on_a_server_or_around_it",
    ),
    "Credential Management: Rotate Regularly": (
        "journeys/registries/test_rotation.py::test_no_pull_fails_while_a_password_is_rotated",
    ),
    "Credential Management: Least Privilege": (
        (
            "worker/oci/test_excess.py::"
            "test_the_test_of_a_registry_shows_what_a_login_may_do_beyond_need"
        ),
        f"{GRANTS}::test_a_copy_is_given_a_login_for_each_side_and_no_more_rights_than_it_needs",
    ),
    "Credential Management: Separate Credentials": (
        f"{GRANTS}::test_a_login_is_for_the_applications_alone_that_its_registry_names",
        f"{GRANTS}::test_a_login_goes_to_the_servers_alone_that_its_registry_names",
    ),
    "Credential Management: Token Expiration": (
        "worker/control/maintenance/test_credential_events.py::test_an_expired_token_is_told",
        f"{GRANTS}::test_a_token_that_says_it_has_expired_is_given_to_no_server",
    ),
    "Registry Security: Private Registries": (
        "journeys/deployments/test_canary.py::test_a_canary_password_is_found_nowhere",
        f"{DIAGNOSIS}::test_a_registry_that_asks_nobody_for_a_password_proves_none",
    ),
    "Registry Security: Image Scanning": (
        "api/scans/test_scans.py::test_a_build_is_scanned_and_its_packages_are_found_where_they_run",
        (
            "worker/scans/test_scan.py::"
            "test_the_sbom_of_the_extra_is_attached_once_and_its_packages_are_listed"
        ),
        ("worker/scans/test_scan.py::test_a_policy_refuses_or_warns_until_an_exception_accepts_it"),
    ),
    "Registry Security: Image Signing": (
        (
            f"{SIGNED}::"
            "test_a_signed_index_is_retained_whole_and_runs_again_without_its_build_registry"
        ),
        "worker/oci/signatures/test_cosign.py::test_cosign_accepts_what_is_signed_here",
    ),
    "Registry Security: Access Logs": (
        (
            "journeys/registries/test_credential_uses.py::"
            "test_uses_in_the_audit_log_equal_what_the_registries_saw"
        ),
        (
            "worker/control/audit/test_tampering.py::"
            "test_tampering_as_the_owner_is_found_where_it_was_done"
        ),
        (
            "worker/control/audit/test_forwarding.py::"
            "test_an_endpoint_that_was_away_gets_what_it_missed_and_delays_no_other"
        ),
    ),
    "Network Security: HTTPS Only": (
        f"{DIAGNOSIS}::test_plain_http_is_refused_where_nobody_listed_it",
        (
            "api/sockets/test_encryption.py::"
            "test_other_machines_get_no_plain_http_unless_it_is_allowed"
        ),
        "worker/server/test_trust.py::test_a_server_joins_by_the_pinned_ca_and_verifies_all_links",
    ),
    "Network Security: VPC/Private Network": (
        "shared/test_networks.py::test_an_address_that_no_setting_allows_is_refused_in_each_spelling",
    ),
    "Network Security: Firewall Rules": (
        "api/accounts/test_key_limits.py::test_a_key_is_used_only_from_its_networks",
        (
            "api/accounts/test_source_networks.py::"
            "test_an_organization_is_used_only_from_its_networks_and_records_refusals"
        ),
        (
            "api/accounts/test_source_networks.py::"
            "test_a_server_joins_only_from_its_networks_and_its_token_stays_valid"
        ),
    ),
    "Network Security: Rate Limiting": (
        "api/limits/test_rate_limit.py::test_a_call_too_many_gets_a_time_to_retry",
        "api/limits/test_rate_limit.py::test_processes_count_together_in_redis_by_their_own_user",
    ),
    "Connection Issues: credentials correct or expired": (
        f"{DIAGNOSIS}::test_a_wrong_password_is_a_typed_error_of_the_simple_test",
        (
            "api/registries/test_procedures.py::"
            "test_a_token_shows_when_it_expires_and_an_expired_one_is_named"
        ),
    ),
    "Connection Issues: URL, accessible from the server": (
        f"{DIAGNOSIS}::test_an_unknown_host_is_called_so",
        f"{DIAGNOSIS}::test_a_refused_port_is_called_so",
    ),
    "Push Issues: write permissions, name and prefix": (
        f"{DIAGNOSIS}::test_a_user_who_may_only_pull_is_reported_so",
        "shared/jobs/test_diagnosis.py::test_rights_are_tried_under_the_prefix",
    ),
    "Push Issues: disk space, connectivity": (
        "worker/engine/transport/test_interruptions.py::test_a_full_disk_is_reported",
        FAULTS,
    ),
    "Pull Issues: read permissions, the image, its name and tag": (
        FAULTS,
        (
            "shared/jobs/test_nearest.py::"
            "test_a_pull_names_the_repository_that_an_application_pushes_to"
        ),
    ),
    "Common Errors: unauthorized": (
        "journeys/test_main_job.py::test_each_server_proves_a_right_password_and_names_a_wrong_one",
    ),
    "Common Errors: no such host": (f"{DIAGNOSIS}::test_an_unknown_host_is_called_so",),
    "Common Errors: certificate signed by unknown authority": (
        f"{DIAGNOSIS}::test_a_certificate_of_an_unknown_authority_is_called_so",
        (
            "worker/oci/transport/test_registry_tls.py::"
            "test_a_ca_that_is_stored_with_a_registry_is_trusted_for_it_alone"
        ),
    ),
    "Database Schema": (STORED,),
    "API Reference": (CURL, f"{CLIENTS}::test_dokploy_s_own_cli_manages_registries"),
    "Example: Complete Workflow": (WORKFLOW,),
}


@cache
def read_tests(path: str) -> dict[str, list[str]]:
    """Return the tests of a file, each with its marks."""
    tree = ast.parse((TESTS / path).read_text())
    return {
        one.name: [ast.unparse(mark) for mark in one.decorator_list]
        for one in tree.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_document_is_proved_by_tests_that_exist(row: str) -> None:
    for named in ROWS[row]:
        path, _, name = named.partition("::")
        assert name.startswith("test_") and name in read_tests(path), named
        assert not [mark for mark in read_tests(path)[name] if "skip" in mark or "xfail" in mark]
