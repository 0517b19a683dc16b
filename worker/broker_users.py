"""Users of the broker and their rights, as access control lists of Redis and Valkey.

Each user may do what a stock Celery or Flower does and no more: the test that runs them finds
``ACL LOG`` empty. The rules hold for these settings of Celery: ``sep`` is ``:``, ``priority_steps``
is ``[0]``, remote control is off in workers, and a worker of ours keeps nothing at the broker
(``worker/server/consumer.py``).
"""

import hashlib
from collections.abc import Mapping

ADMIN = "admin"

_CONNECT = "+auth +hello +ping +select +client|setinfo +client|setname"
_CONNECT_MORE = f"{_CONNECT} +multi +exec +watch +unwatch"

_QUEUE = "~server.{0} ~_kombu.binding.server.{0} ~_kombu.binding_permanent.server.{0}"

_UNACKED = "+zadd +zrem +zrange +hset +hget +hdel ~unacked.{0} ~unacked_index.{0}"
"""The commands of kombu's ``QoS`` for messages that are delivered and not yet acknowledged."""

_MUTEX = "+set +get +del +evalsha +script|load ~unacked_mutex.{0}"
"""redis-py's ``Lock``, around the search for messages that nobody acknowledged."""

_FLEETING_QUEUE = (
    "+llen +brpop +del +exists +time +sadd +srem +smembers +zadd +zrem +zrangebyscore"
    " +evalsha +script|load +script|exists"
    " ~celeryev.* ~_kombu.binding.celeryev ~_kombu.binding_permanent.celeryev"
    " ~*.reply.celery.pidbox* ~_kombu.binding.reply.celery.pidbox"
    " ~_kombu.binding_permanent.reply.celery.pidbox ~_kombu.binding_deadlines"
)
"""A queue for events or replies: bound for a while, swept with the others of its kind."""

RULES: dict[str, str] = {
    ADMIN: "+@all ~* &*",
    "control": f"{_CONNECT_MORE} +info +llen +sadd +lpush {_QUEUE.format('*')}",
    # It reads each queue under its priorities too, and its replies: celery, celery3, celery6 …
    # A selector: it listens to events and cannot send them, asks workers and cannot overhear them.
    "flower": (
        f"{_CONNECT_MORE} {_FLEETING_QUEUE} %R~server.* %R~celery*"
        f" {_UNACKED.format('flower')} {_MUTEX.format('flower')}"
        # The names that a Flower without an app has for them.
        " ~unacked ~unacked_index ~unacked_mutex"
        " +psubscribe +punsubscribe &/0.celeryev/* (+publish &/0.celery.pidbox)"
    ),
    # For the rate limiter.
    "api": f"{_CONNECT_MORE} +get +set +incr +incrby +expire +pexpire +ttl +pttl +del ~limit:*",
}
"""The users of the control plane and their rules; control adds one for each server."""

SERVER_PREFIX = "server-"


def server_user(server_id: str) -> str:
    """The name of a server's own user."""
    return f"{SERVER_PREFIX}{server_id}"


def server_rules(server_id: str) -> str:
    """Return the rules of one server's user: it reads its queue and sends events to Flower.

    It can store nothing: the memory of the broker is that of all servers.
    """
    return (
        f"{_CONNECT} +brpop ~server.{server_id} +publish &/0.celeryev/worker.* &/0.celeryev/task.*"
    )


def hash_password(password: str) -> str:
    """Return the broker's hash of a password: its SHA-256, as hexadecimal digits."""
    return hashlib.sha256(password.encode()).hexdigest()


def make_access_list(passwords: Mapping[str, str]) -> str:
    """The text of an ``aclfile``: hashes in place of passwords, nobody without a password."""
    lines = ["user default reset off\n"]
    for user, rules in RULES.items():
        lines.append(f"user {user} reset on #{hash_password(passwords[user])} {rules}\n")
    return "".join(lines)
