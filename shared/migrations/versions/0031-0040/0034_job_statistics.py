"""Count ended jobs and their durations."""

from alembic import op
import sqlalchemy as sa

revision = '0034'
down_revision = '0033'
branch_labels = None
depends_on = None

STATES = "state IN ('cancelled', 'expired', 'failed', 'succeeded')"


def upgrade() -> None:
    op.create_table(
        'job_ended',
        sa.Column('job_id', sa.String(), nullable=False),
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('code', sa.String(), nullable=False),
        sa.Column('waited_seconds', sa.Float(), nullable=True),
        sa.Column('ran_seconds', sa.Float(), nullable=True),
        sa.Column('moved_bytes', sa.BigInteger(), nullable=False),
        sa.CheckConstraint(STATES, name='state_known'),
        sa.PrimaryKeyConstraint('job_id'),
    )
    op.create_table(
        'job_count',
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('code', sa.String(), nullable=False),
        sa.Column('jobs', sa.BigInteger(), nullable=False),
        sa.Column('moved_bytes', sa.BigInteger(), nullable=False),
        sa.CheckConstraint(STATES, name='state_known'),
        sa.PrimaryKeyConstraint('kind', 'state', 'code'),
    )
    op.create_table(
        'job_duration',
        sa.Column('kind', sa.String(), nullable=False),
        sa.Column('phase', sa.String(), nullable=False),
        sa.Column('up_to', sa.Float(), nullable=False),
        sa.Column('jobs', sa.BigInteger(), nullable=False),
        sa.Column('seconds', sa.Float(), nullable=False),
        sa.CheckConstraint("phase IN ('waiting', 'running')", name='phase_known'),
        sa.CheckConstraint('up_to > 0', name='bound_positive'),
        sa.PrimaryKeyConstraint('kind', 'phase', 'up_to'),
    )
