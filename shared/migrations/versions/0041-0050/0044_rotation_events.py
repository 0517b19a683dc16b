"""Send webhook events of rotations: a new login is in use, was refused, or was rolled back."""

from alembic import op

revision = '0044'
down_revision = '0043'
branch_labels = None
depends_on = None

EVENTS = (
    "'job.ended', 'build.ended', 'deployment.ended', 'credential.due', 'credential.refused', 'credential.expired', "
    "'credential.rotated', 'credential.rotation_refused', 'credential.rolled_back'"
)


def upgrade() -> None:
    op.create_index('ix_rotation_finished_at', 'rotation', ['finished_at'])
    op.drop_constraint('events_known', 'webhook')
    op.create_check_constraint(
        'events_known', 'webhook', f"events <@ ARRAY[{EVENTS}]::varchar[] AND cardinality(events) > 0"
    )
    op.drop_constraint('event_known', 'webhook_delivery')
    op.create_check_constraint('event_known', 'webhook_delivery', f"event IN ({EVENTS})")
