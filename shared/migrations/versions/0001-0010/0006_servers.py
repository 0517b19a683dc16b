"""Servers: a broker user each, what they are for, and what their clocks say."""

from alembic import op
import sqlalchemy as sa

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A beat changes the row every three seconds: there is room for its next version beside it.
    op.execute('ALTER TABLE server SET (fillfactor = 50)')
    # A server that enrolled before has none, and goes on with a user that it shares.
    op.add_column('server_enrolment', sa.Column('broker_hash', sa.String(), nullable=True))
    op.create_check_constraint('broker_hash_is_sha256', 'server_enrolment', "broker_hash ~ '^[0-9a-f]{64}$'")
    # It takes one argument more from now on, and must not be there twice; rules.sql makes it.
    op.execute('DROP FUNCTION IF EXISTS public.server_enroll(bytea, text, text)')
    op.add_column('server', sa.Column('roles', sa.ARRAY(sa.String()), server_default=sa.text("'{deploy,build}'"), nullable=False))
    op.create_check_constraint('roles_known', 'server', "roles <@ ARRAY['deploy', 'build']::varchar[] AND roles <> '{}'")
    op.add_column('server', sa.Column('clock_ahead_seconds', sa.Float(), nullable=True))
    op.create_table('registry_check',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('registry_id', sa.String(), nullable=False),
    sa.Column('server_id', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('code', sa.String(), nullable=True),
    sa.Column('stage', sa.String(), nullable=True),
    sa.Column('milliseconds', sa.Float(), nullable=True),
    sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("state IN ('cancelled', 'expired', 'failed', 'succeeded')", name='state_known'),
    sa.ForeignKeyConstraint(['organization_id', 'registry_id'], ['registry.organization_id', 'registry.registry_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['organization_id', 'server_id'], ['server.organization_id', 'server.server_id'], ),
    sa.PrimaryKeyConstraint('job_id')
    )
    op.create_index('registry_check_newest', 'registry_check', ['registry_id', 'server_id', 'checked_at'], unique=False)
    op.create_index(op.f('ix_registry_check_checked_at'), 'registry_check', ['checked_at'], unique=False)
