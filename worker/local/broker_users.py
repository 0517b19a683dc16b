"""Who may do what at the broker, as Valkey's access control list.

Each user may do what a stock Celery or Flower does and no more: the test that runs them finds
``ACL LOG`` empty. The rules hold for these settings of Celery: ``sep`` is ``:``, ``priority_steps``
is ``[0]``, remote control is off in workers, and each process has unacked keys of its own
(``unacked.ID``, ``unacked_index.ID``, ``unacked_mutex.ID``).
"""

import hashlib
from collections.abc import Mapping

ADMIN = "admin"

_CONNECT = "+auth +hello +ping +select +client|setinfo +client|setname +multi +exec +watch +unwatch"

_QUEUE = "~server.* ~_kombu.binding.server.* ~_kombu.binding_permanent.server.*"

_UNACKED = "+zadd +zrem +zrange +hset +hget +hdel"
"""What kombu's ``QoS`` does with messages that are delivered and not yet acknowledged."""

_MUTEX = "+set +get +del +evalsha +script|load"
"""redis-py's ``Lock``, around the search for messages that nobody acknowledged."""

_FLEETING_QUEUE = (
    "+llen +brpop +del +exists +time +sadd +srem +smembers +zadd +zrem +zrangebyscore"
    " +evalsha +script|load +script|exists"
    " ~celeryev.* ~_kombu.binding.celeryev ~_kombu.binding_permanent.celeryev"
    " ~*.reply.celery.pidbox ~_kombu.binding.reply.celery.pidbox"
    " ~_kombu.binding_permanent.reply.celery.pidbox ~_kombu.binding_deadlines"
)
"""A queue for events or replies: bound for a while, swept with the others of its kind."""

RULES: dict[str, str] = {
    ADMIN: "+@all ~* &*",
    "control": f"{_CONNECT} +llen +sadd +lpush {_QUEUE}",
    "worker": (
        f"{_CONNECT} +llen +sadd +brpop +rpush +lpush {_QUEUE}"
        f" {_UNACKED} ~unacked.* ~unacked_index.* {_MUTEX} ~unacked_mutex.*"
        " +publish &/0.celeryev/worker.* &/0.celeryev/task.*"
    ),
    # A selector: it listens to events and cannot send them, asks workers and cannot overhear them.
    "flower": (
        f"{_CONNECT} {_FLEETING_QUEUE} %R~server.* %R~celery"
        f" {_UNACKED} ~unacked.flower ~unacked_index.flower {_MUTEX} ~unacked_mutex.flower"
        " +psubscribe +punsubscribe &/0.celeryev/* (+publish &/0.celery.pidbox)"
    ),
    # For the rate limiter.
    "api": f"{_CONNECT} +get +set +incr +incrby +expire +pexpire +ttl +pttl +del ~limit:*",
}
"""The users and their rules; a server's worker shares ``worker`` with the others."""


def make_access_list(passwords: Mapping[str, str]) -> str:
    """The text of an ``aclfile``: hashes in place of passwords, nobody without a password."""
    lines = ["user default reset off\n"]
    for user, rules in RULES.items():
        proof = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} reset on #{proof} {rules}\n")
    return "".join(lines)
