"""Builds: one image of an application each."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('build',
    sa.Column('build_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('reference', sa.String(), nullable=False),
    sa.Column('retained', sa.String(), nullable=True),
    sa.Column('make_job_id', sa.String(), nullable=False),
    sa.Column('push_job_id', sa.String(), nullable=True),
    sa.Column('retain_job_id', sa.String(), nullable=True),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.Column('digest', sa.String(), nullable=True),
    sa.Column('revision', sa.String(), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('requested_by', sa.String(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("outcome IN ('succeeded', 'failed', 'cancelled', 'superseded', 'expired')", name='outcome_known'),
    sa.CheckConstraint('(outcome IS NULL) = (finished_at IS NULL)', name='outcome_has_end'),
    sa.CheckConstraint('version > 0', name='version_counted'),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('build_id'),
    sa.UniqueConstraint('application_id', 'version')
    )
    op.create_index('build_open', 'build', ['build_id'], unique=False, postgresql_where=sa.text('outcome IS NULL'))
    op.create_index('build_of_application', 'build', ['application_id', 'build_id'], unique=False)
