"""Servers: a broker user each, what they are for, and what their clocks say."""

from alembic import op
import sqlalchemy as sa

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A server that enrolled before has none, and goes on with a user that it shares.
    op.add_column('server_enrolment', sa.Column('broker_hash', sa.String(), nullable=True))
    op.create_check_constraint('broker_hash_is_sha256', 'server_enrolment', "broker_hash ~ '^[0-9a-f]{64}$'")
    # It takes one argument more from now on, and must not be there twice; rules.sql makes it.
    op.execute('DROP FUNCTION IF EXISTS public.server_enroll(bytea, text, text)')
    op.add_column('server', sa.Column('roles', sa.ARRAY(sa.String()), server_default=sa.text("'{deploy,build}'"), nullable=False))
    op.create_check_constraint('roles_known', 'server', "roles <@ ARRAY['deploy', 'build']::varchar[] AND roles <> '{}'")
    op.add_column('server', sa.Column('clock_ahead_seconds', sa.Float(), nullable=True))
