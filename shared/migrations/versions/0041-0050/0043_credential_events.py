"""Send webhook events of credentials that are due, refused or expired; store each event."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0043'
down_revision = '0042'
branch_labels = None
depends_on = None

EVENTS = "'job.ended', 'build.ended', 'deployment.ended', 'credential.due', 'credential.refused', 'credential.expired'"


def upgrade() -> None:
    op.create_table(
        'credential_notice',
        sa.Column('registry_id', sa.String(), nullable=False),
        sa.Column('event', sa.String(), nullable=False),
        sa.Column('login_revision', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('data', postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column('told_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.ForeignKeyConstraint(
            ['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('registry_id', 'event', 'login_revision'),
    )
    op.drop_constraint('events_known', 'webhook')
    op.create_check_constraint(
        'events_known', 'webhook', f"events <@ ARRAY[{EVENTS}]::varchar[] AND cardinality(events) > 0"
    )
    op.drop_constraint('event_known', 'webhook_delivery')
    op.create_check_constraint('event_known', 'webhook_delivery', f"event IN ({EVENTS})")
