"""Messages of builders, the classic one and BuildKit."""

from shared.faults import FaultCode
from worker.engine.messages.rule import MessageRule

BUILD_RULES = (
    # A failed step quotes its command, which may contain anything. So this rule is the first.
    MessageRule(
        r"returned a non-zero code: \d+|executor failed running|did not complete successfully"
        r"|while running runtime: exit status",
        FaultCode.BUILD_FAILED,
        "The command '/bin/sh -c grep denied x509' returned a non-zero code: 7",
        "20.10",
        "build",
    ),
    MessageRule(
        r'^building at STEP "(?:RUN|COPY|ADD) .*(?:exit status \d+|no such file or directory)\s*$',
        FaultCode.BUILD_FAILED,
        'building at STEP "RUN exit 7": exit status 7',
        "podman",
        "build",
    ),
    MessageRule(
        r'^building at STEP "RUN .*ssh required but no ssh',
        FaultCode.BUILD_UNSUPPORTED,
        'building at STEP "RUN --mount=type=ssh,required=true true": resolving mountpoints for '
        'container "3d0f7fcd9f2e": ssh required but no ssh with id default found',
        "podman",
        "build",
    ),
    MessageRule(
        r'^building at STEP "RUN .*secret required but no secret',
        FaultCode.BUILD_SECRET_MISSING,
        'building at STEP "RUN --mount=type=secret,id=npmrc,required=true true": resolving '
        'mountpoints for container "98cfbfb84ad5": secret required but no secret with id "npmrc" '
        "found",
        "podman",
        "build",
    ),
    MessageRule(
        r"(?i)^building at STEP \".*: Unknown instruction: |^The target \S+ was not found in"
        r"|no FROM statement found|^no contents in |^stat /\S+: no such file or directory\s*$",
        FaultCode.DOCKERFILE_INVALID,
        'The target "none" was not found in the provided Dockerfile',
        "podman",
        "build",
    ),
    MessageRule(
        r"COPY failed|ADD failed|failed to compute cache key|failed to calculate checksum",
        FaultCode.BUILD_FAILED,
        "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: "
        "file does not exist",
        "20.10",
        "build",
    ),
    MessageRule(
        r"(?:LLB definition|metadata for)\b.*no active sessions",
        FaultCode.AUTH_MISSING,
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: no active "
        "sessions",
        "20.10",
        "build",
    ),
    MessageRule(
        r"\bsecret \S+(?: not found)?: not found",
        FaultCode.BUILD_SECRET_MISSING,
        "secret npmrc not found: not found",
        "20.10",
        "build",
    ),
    MessageRule(
        r"failed to parse platform|is an invalid (?:OS )?component of",
        FaultCode.BUILD_UNSUPPORTED,
        'failed to parse platform : "" is an invalid component of "": platform specifier component '
        'must match "^[A-Za-z0-9_-]+$": invalid argument',
        "20.10",
        "build",
        remedy="Leave $BUILDPLATFORM out, or update the Docker Engine to version 23 or newer: only "
        "BuildKit knows it.",
    ),
    MessageRule(
        r"option requires BuildKit|no active sessions|not supported by buildkit|no SSH key",
        FaultCode.BUILD_UNSUPPORTED,
        "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/",
        "20.10",
        "build",
    ),
    MessageRule(
        r"dockerfile parse error|annot locate specified Dockerfile|failed to read dockerfile: open"
        r"|cannot be empty|failed to reach build target|target stage \S+ could not be found"
        r"|base name \(.*\) should not be blank",
        FaultCode.DOCKERFILE_INVALID,
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile "
        "parse error line 2: unknown instruction: RUNN",
        "20.10",
        "build",
    ),
)
