"""Store the answers of registries to control's checks of pushed digests."""

from alembic import op
import sqlalchemy as sa

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('digest_check',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('outcome', sa.String(), nullable=False),
    sa.Column('code', sa.String(), nullable=True),
    sa.Column('retryable', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("outcome IN ('verified', 'missing', 'not_reached')", name='outcome_known'),
    sa.CheckConstraint("(outcome = 'not_reached') = (code IS NOT NULL)", name='code_of_failure'),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id')
    )
    op.create_index(
        'job_pushed', 'job', ['finished_at'], unique=False,
        postgresql_where=sa.text("kind IN ('image.push', 'image.copy') AND state = 'succeeded'"))
