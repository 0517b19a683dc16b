"""Describe the certificates of registries, and send webhook events before and after their end."""

from alembic import op
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0045'
down_revision = '0044'
branch_labels = None
depends_on = None

EVENTS = (
    "'job.ended', 'build.ended', 'deployment.ended', 'credential.due', 'credential.refused', 'credential.expired', "
    "'credential.rotated', 'credential.rotation_refused', 'credential.rolled_back', "
    "'certificate.due', 'certificate.expired'"
)


def upgrade() -> None:
    op.alter_column('credential_notice', 'login_revision', new_column_name='subject')
    op.drop_constraint('events_known', 'webhook')
    op.create_check_constraint(
        'events_known', 'webhook', f"events <@ ARRAY[{EVENTS}]::varchar[] AND cardinality(events) > 0"
    )
    op.drop_constraint('event_known', 'webhook_delivery')
    op.create_check_constraint('event_known', 'webhook_delivery', f"event IN ({EVENTS})")
    op.add_column(
        'registry',
        sa.Column('certificates', postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    )
    describe_stored()


def describe_stored() -> None:
    registry = sa.table(
        'registry',
        *(sa.column(name) for name in ('registry_id', 'ca_certificate', 'client_certificate')),
        sa.column('certificates', postgresql.JSONB()),
    )
    has_any = sa.or_(registry.c.ca_certificate.is_not(None), registry.c.client_certificate.is_not(None))
    query = sa.select(registry.c.registry_id, registry.c.ca_certificate, registry.c.client_certificate)
    for registry_id, ca, client in op.get_bind().execute(query.where(has_any)).fetchall():
        found = [('ca', one) for one in parse(ca)] + [('client', one) for one in parse(client)[:1]]
        described = [
            {
                'use': use,
                'subject': one.subject.rfc4514_string() or 'a certificate without a subject',
                'sha256': one.fingerprint(SHA256()).hex(),
                'not_after': one.not_valid_after_utc.isoformat(),
            }
            for use, one in found
        ]
        change = registry.update().where(registry.c.registry_id == registry_id)
        op.get_bind().execute(change.values(certificates=described))


def parse(pem: str | None) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode()) if pem else []
