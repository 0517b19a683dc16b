"""The cause of each error code, for the reference page of codes."""

MEANINGS = {
    "address_refused": (
        "The key, its person, the organization or the server is limited to networks without this "
        "address."
    ),
    "already_ended": "The job, build or deployment has already ended.",
    "already_joined": "The server has already joined.",
    "app_name_unusable": "No container or service can have the application's `appName`.",
    "attestation_missing": (
        "The policy requires a signed attestation that the image does not have."
    ),
    "auth_bad_credentials": "The registry or its token server refused the username and password.",
    "auth_expired": "The registry refused the token, because it has expired.",
    "auth_missing": "The registry requires a login, and none was given.",
    "auth_not_checked": "The registry accepts every client, so the test cannot prove the login.",
    "auth_server_unreachable": "The token server that the registry names could not be used.",
    "auth_unsafe_realm": (
        "The password would not be safe at the token server that the registry names: it has no TLS "
        "or no verified certificate, or a registry without TLS names another host."
    ),
    "bad_input": "The input does not have the right form.",
    "base_not_allowed": (
        "The Dockerfile builds on an image of a registry that the policy does not allow."
    ),
    "blocked_by_proxy": (
        "A firewall or a proxy in front of the registry, or of the Docker Engine's socket, refused "
        "the request."
    ),
    "build_failed": "A step of the Dockerfile failed.",
    "build_not_pushed": "The build's image is only on the server that built it.",
    "build_not_succeeded": "The build did not succeed, so there is no image to deploy.",
    "build_secret_missing": "The Dockerfile mounts a secret that the application does not have.",
    "build_unsupported": (
        "The Dockerfile mounts ssh keys, which no build gets, or it needs BuildKit, which this "
        "server's Docker Engine does not have."
    ),
    "busy": "This process is at its limit of requests.",
    "cancelled": "The job was cancelled.",
    "cannot_sign": "The signing key is retired, or only a public key.",
    "certificate_invalid": (
        "A certificate or key for a registry is not whole, expired, no CA, or the two do not fit."
    ),
    "changed_meanwhile": "Somebody else has changed it since the page of the console was opened.",
    "checksum_mismatch": "The upload's checksum differs from the declared one.",
    "command_unreadable": "The stored job cannot be read.",
    "compose_invalid": "This is not a valid compose file.",
    "compression_unsupported": (
        "The Docker Engine cannot unpack the image's layers, which are compressed by zstd."
    ),
    "conflict": (
        "The thing that the request names already exists, or its state does not allow the request."
    ),
    "conn_refused": (
        "Nothing listens at the registry's address and port, or a firewall refuses the connection."
    ),
    "conn_reset": "The connection to the registry was cut.",
    "conn_timeout": "The registry did not answer in time.",
    "container_exited": "The new version's container ended by itself.",
    "container_missing": "The container was removed during the attempt.",
    "container_unhealthy": "The health check of the new version failed.",
    "code_needed": "The password is right, and the account has a second factor.",
    "credential_denied": (
        "The provider accepts the stored credential, but it has no permission to get a login."
    ),
    "credential_refused": "The provider does not accept the stored credential of the registry.",
    "database_disk_full": "The disk of the database is full. Stored data can still be read.",
    "database_unavailable": "The database does not answer.",
    "deadline_passed": "The job was not started before its deadline.",
    "delete_unsupported": "The registry does not allow to delete images.",
    "deployment_changed": "The application has a newer deployment than the one that was named.",
    "digest_mismatch": "The content has another digest than expected.",
    "digest_unknown": "The digest of the build's image is not known.",
    "digest_unreadable": "The worker of the server reported a digest that cannot be read.",
    "disk_full": "A disk has no space left: that of the server, or that of the API for uploads.",
    "dns_failure": (
        "This server's DNS resolver reported an error for the registry's name, or did not answer."
    ),
    "dns_not_found": "The registry's name does not exist for this server's DNS resolver.",
    "dockerfile_invalid": "There is no Dockerfile at the path, or it has an error.",
    "document_unreadable": "The worker stored a document that the API cannot read.",
    "engine_api_version": (
        "The Docker Engine was updated during the attempt, and refused the version of the request."
    ),
    "engine_busy": (
        "The Docker Engine runs only a few transfers at a time, and all of them wait for "
        "registries that do not answer."
    ),
    "engine_refused": (
        "The Docker Engine refused the request for another reason, which the message quotes."
    ),
    "engine_stalled": "No data moved for a minute in a transfer of the Docker Engine.",
    "engine_stream_truncated": (
        "The Docker Engine ended its answer too early, as when it is stopped."
    ),
    "engine_unreachable": "The Docker Engine of the server does not answer.",
    "forbidden": (
        "The key is valid, but its role does not allow this, or the key is not in "
        "`allowedKeys` of the application."
    ),
    "health_check_too_slow": "The health check may take longer than a deployment waits.",
    "hook_signature_invalid": "The request of a deploy hook has no valid signature.",
    "host_key_changed": "The git host shows another SSH key than the one that is stored.",
    "host_key_not_pinned": "No SSH key of the git host is stored, so the host cannot be proved.",
    "host_path_not_allowed": "The server does not let the application mount this directory.",
    "http_to_https": "The registry uses HTTPS at this port, and the request was plain HTTP.",
    "idempotency_mismatch": "This `Idempotency-Key` belongs to another request.",
    "image_deleted": "The image of the build was deleted, or is being deleted.",
    "image_incomplete": (
        "The registry lacks a part of the image: a layer, its configuration or a "
        "platform's manifest."
    ),
    "image_not_found": "The registry has no image with this name and tag or digest.",
    "in_use": (
        "It is in use, so it is not removed, or not changed in a way that breaks a use. The "
        "message names the uses."
    ),
    "internal": "An internal error. See the log of the process.",
    "last_admin_key": "This is the last administrator's key.",
    "would_lock_out": "The new source networks do not contain the address of the caller.",
    "last_owner": "This is the last owner of the organization.",
    "layer_too_large": "The registry, or a proxy before it, refuses a request of this size.",
    "local_image_missing": "The server has no image with this name.",
    "location_mismatch": "The registry names another address than its own for uploads.",
    "machine_identity_off": (
        "The credential uses the identity of the machine of wharf control, and its operator does "
        "not allow that."
    ),
    "name_taken": "The name of the application, server, container or service is already in use.",
    "need_not_met": "The job was not started, because a job before it did not succeed.",
    "network_refused": "The address is in a network that is not allowed.",
    "no_build": "No build of the application has succeeded yet.",
    "no_context": "No context was uploaded for the build.",
    "no_data_dir": "The API stores no uploads.",
    "no_effect": "A field cannot take effect. The message names it.",
    "no_former_login": "The registry's former login is not kept, or not any more.",
    "no_procedure": "There is no procedure with this name.",
    "no_route": "This server has no network route to the registry's address.",
    "no_server": "No server can take the job now. The message says why.",
    "no_server_address": "The API does not know the database address that a joining server needs.",
    "no_suitable_node": "No node of the Swarm can run a task of the service.",
    "no_target_server": "The application has no server to run on.",
    "not_a_registry": "What answers at this address is not a registry.",
    "not_a_swarm_manager": "The server is not a manager of a Swarm, so it cannot run a service.",
    "not_an_image": "The reference names a chart, a signature or another artifact.",
    "not_deployed": "No version of the application was deployed, so nothing can be started.",
    "not_found": "Your organization has nothing with this id.",
    "not_repeatable": (
        "The job has not ended, has succeeded, is a part of a deployment, or needs a secret that "
        "was deleted with it."
    ),
    "not_offered": (
        "Wharfinger does not have this procedure of Dokploy's API. The message says what "
        "to use instead, or why."
    ),
    "other_runtime": (
        "The application's runtime is container, but it runs on this server as a service, or the "
        "other way round."
    ),
    "password_needed": (
        "The host or username has changed, so the stored password, token or deploy key "
        "cannot be used."
    ),
    "plain_http_refused": (
        "The registry speaks plain HTTP, and no administrator has allowed that for it."
    ),
    "platform_missing": "The image is not for the platform of the server.",
    "port_taken": "Another program uses the published port on the server.",
    "proxy_error": (
        "The proxy of the server's Docker Engine refused the connection, or cannot be reached."
    ),
    "pull_denied": "The login is right, but has no permission to read the repository.",
    "push_denied": "The login is right, but has no permission to write to the repository.",
    "queue_full": "The organization has as many jobs that have not ended as its quota allows.",
    "quota_exceeded": (
        "The organization has as many applications or webhooks, or keeps as many bytes of "
        "uploads, as its quota allows; or the project or account at the registry has no space "
        "left."
    ),
    "rate_limited": "Too many requests were sent: to the API with this key, or to the registry.",
    "ref_invalid": "This is not a valid name of a registry or an image.",
    "registry_error": (
        "The registry reported an internal error, or an answer that breaks the protocol."
    ),
    "registry_not_allowed": (
        "The registry's login may not be used by this server or this application."
    ),
    "registry_read_only": "The registry is in read-only mode.",
    "registry_removed": "The registry that keeps the image of the rollback point was removed.",
    "repo_missing": "The repository does not exist, and the registry does not create it by a push.",
    "request_timeout": "The body did not arrive in time.",
    "restore_failed": "The new version failed, and the previous one could not be started again.",
    "result_unreadable": "The worker reported a result that cannot be read.",
    "returned_too_often": "The worker gave back the job four times unfinished.",
    "revision_not_found": "The repository has no such branch, tag or commit.",
    "scan_failed": "The scanner, or the program that makes SBOMs, ended with an error.",
    "scan_missing": "The scan policy is enforced, and nothing is known about this image.",
    "scanner_missing": "The scan policy requires a scan, and the server has no scanner.",
    "server_not_approved": "The server has joined, but nobody has approved it.",
    "server_offline": "The worker of the server has sent no heartbeat for a while.",
    "server_paused": "The server is paused, so it takes no jobs.",
    "server_removed": "The server of the job was removed.",
    "rotation_running": "A new login of the registry is being tested.",
    "service_changed": "Another client changed the Swarm service at the same time.",
    "service_missing": "The Swarm service was removed during the attempt.",
    "signature_invalid": (
        "A signature beside the image is for another image, or was not made by the key that it "
        "names."
    ),
    "signature_missing": ("The policy requires a signature, and the image has none."),
    "signature_untrusted": ("The image is signed, but by no key of the policy."),
    "source_altered": "The sources arrived at the server with other bytes than were uploaded.",
    "source_corrupt": "The upload is not a complete tar.",
    "source_denied": "The git server does not accept the token.",
    "source_incomplete": "Submodules or LFS files of the repository could not be fetched.",
    "sign_in_provider_away": "The OIDC provider, by which people sign in, does not answer well.",
    "sign_in_failed": "The e-mail address, the password or the code of a person is wrong.",
    "source_invalid": (
        "The sources cannot be built as they are. The message names the file, link or setting."
    ),
    "source_not_docker": "The application has neither a repository nor a ready image.",
    "source_not_found": "There is no such git repository, or it is private.",
    "source_too_large": "The sources have more files or bytes than is allowed.",
    "source_unreachable": (
        "The git server, the LFS server or the API could not be reached for the sources."
    ),
    "still_running": "The job did not end within the waiting time.",
    "superseded": "A newer build of the application replaced this one.",
    "tag_immutable": "The registry does not allow to move this tag.",
    "tls_client_cert": "The registry requires a client certificate.",
    "tls_expired": "The registry's certificate has expired, or is not valid yet.",
    "tls_failed": "The TLS handshake with the registry failed.",
    "tls_name_mismatch": "The registry's certificate is for another name.",
    "tls_not_offered": "The registry does not use TLS at this port.",
    "tls_unknown_ca": "This server does not trust the CA of the registry's certificate.",
    "too_large": "The body is too large. See [limits](../limits.md#requests).",
    "too_many_at_once": "The key or its organization has too many open streams, waits or uploads.",
    "too_many_failures": (
        "Too many wrong API keys, tokens or passwords came from this IP address or for an account."
    ),
    "too_many_replicas": "A server runs one container of an application.",
    "too_many_signing_keys": "The organization has as many signing keys as are allowed.",
    "transfer_timeout": "The attempt took longer than its time limit.",
    "unauthenticated": "There is no API key, or it is not valid.",
    "unreadable_input": "The body is not JSON in UTF-8.",
    "upload_corrupt": "The registry received other bytes than were sent.",
    "upload_incomplete": "The upload broke off.",
    "url_invalid": "No message can be sent to this URL.",
    "vulnerabilities_found": "The scan policy does not accept vulnerabilities of the image.",
    "webhook_disabled": "The webhook is disabled, so no message is sent.",
    "worker_lost": "The worker of the job sent no heartbeat any more.",
    "wrong_media_type": "The content type is not one that the procedure reads.",
    "wrong_method": "The procedure does not take this method.",
}
