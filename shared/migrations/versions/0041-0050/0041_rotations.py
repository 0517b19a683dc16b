"""Store rotations of logins with the login that is not in use, and jobs for Swarm services."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0041'
down_revision = '0040'
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'compose.pull', 'container.replace', 'service.replace', 'service.login', 'application.control', 'application.logs')"
JSON = postgresql.JSONB(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        'rotation',
        sa.Column('rotation_id', sa.String(), nullable=False),
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('registry_id', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('slot', JSON, nullable=True),
        sa.Column('command', JSON, nullable=True),
        sa.Column('tests', JSON, nullable=True),
        sa.Column('forced', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('keep_hours', sa.Integer(), server_default=sa.text('24'), nullable=False),
        sa.Column('error', JSON, nullable=True),
        sa.Column('requested_by', sa.String(), nullable=True),
        sa.Column('created_at', TIME, server_default=sa.text('now()'), nullable=False),
        sa.Column('switched_at', TIME, nullable=True),
        sa.Column('settled_at', TIME, nullable=True),
        sa.Column('kept_until', TIME, nullable=True),
        sa.Column('finished_at', TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('testing', 'switched', 'dropped', 'rolled_back', 'refused', 'cancelled')",
            name='state_known',
        ),
        sa.CheckConstraint(
            "(state IN ('testing', 'switched')) = (slot IS NOT NULL)", name='slot_while_needed'
        ),
        sa.CheckConstraint("starts_with(slot->>'password', 'v1.')", name='slot_sealed'),
        sa.CheckConstraint("(state = 'refused') = (error IS NOT NULL)", name='refusal_has_error'),
        sa.CheckConstraint(
            "(state IN ('testing', 'switched')) = (finished_at IS NULL)", name='end_has_time'
        ),
        sa.CheckConstraint("state <> 'switched' OR kept_until IS NOT NULL", name='kept_has_end'),
        sa.CheckConstraint('keep_hours >= 0', name='keep_not_negative'),
        sa.ForeignKeyConstraint(
            ['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('rotation_id'),
    )
    op.create_index(
        'rotation_testing', 'rotation', ['registry_id'], unique=True,
        postgresql_where=sa.text("state = 'testing'"),
    )
    op.create_index(
        'rotation_kept', 'rotation', ['registry_id'], unique=True,
        postgresql_where=sa.text("state = 'switched'"),
    )
    op.create_index('rotation_of_registry', 'rotation', ['registry_id', 'created_at'])
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
