"""Messages about containers, and about services, nodes and tasks of a Swarm."""

from shared.faults import FaultCode
from worker.engine.messages.rule import MessageRule

CONTAINER_RULES = (
    MessageRule(
        r"(?i)no such container|removal of container \S+ is already in progress",
        FaultCode.CONTAINER_MISSING,
        "No such container: my-app",
        "20.10",
    ),
    MessageRule(
        r"service \S+ not found",
        FaultCode.SERVICE_MISSING,
        "service my-app not found",
        "20.10",
    ),
    MessageRule(
        r"does not have a leader",
        FaultCode.ENGINE_UNREACHABLE,
        "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too "
        "few managers are online. Make sure more than half of the managers are online.",
        "20.10",
    ),
    MessageRule(
        r"update out of sequence",
        FaultCode.SERVICE_CHANGED,
        "rpc error: code = Unknown desc = update out of sequence",
        "20.10",
    ),
    MessageRule(
        r"name conflicts with an existing object",
        FaultCode.NAME_TAKEN,
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service "
        "my-app already exists",
        "20.10",
    ),
    MessageRule(
        r"is already in use by service|host-mode port already in use",
        FaultCode.PORT_TAKEN,
        "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'my-app' "
        "(zb5w) as an ingress port",
        "20.10",
    ),
    MessageRule(
        r"no suitable node \(unsupported platform on \d+ nodes?\)",
        FaultCode.PLATFORM_MISSING,
        "no suitable node (unsupported platform on 2 nodes)",
        "20.10",
    ),
    MessageRule(
        r"no suitable node",
        FaultCode.NO_SUITABLE_NODE,
        "no suitable node (2 nodes not available for new tasks)",
        "20.10",
    ),
    MessageRule(
        r"unhealthy container",
        FaultCode.CONTAINER_UNHEALTHY,
        "task: non-zero exit (137): dockerexec: unhealthy container",
        "20.10",
        "start container",
    ),
    MessageRule(
        r"task: non-zero exit",
        FaultCode.CONTAINER_EXITED,
        "task: non-zero exit (7)",
        "20.10",
        "start container",
    ),
    MessageRule(
        r"already in use by container",
        FaultCode.NAME_TAKEN,
        'Conflict. The container name "/my-app" is already in use by container "5f0c". You have to '
        "remove (or rename) that container to be able to reuse that name.",
        "20.10",
    ),
    MessageRule(
        r"port is already allocated|address already in use",
        FaultCode.PORT_TAKEN,
        "driver failed programming external connectivity on endpoint my-app (5f0c): Bind for "
        "0.0.0.0:80 failed: port is already allocated",
        "20.10",
        "start container",
    ),
    MessageRule(
        r"OCI runtime create failed|failed to create (?:shim )?task|exec format error",
        FaultCode.CONTAINER_EXITED,
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        'exec: "none": executable file not found in $PATH: unknown',
        "20.10",
        "start container",
    ),
)
