"""Uploaded build contexts, and the tokens to fetch them with."""

from alembic import op
import sqlalchemy as sa

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('context',
    sa.Column('context_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('application_id', sa.String(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint('size_bytes > 0', name='size_positive'),
    sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name='sha256_hexadecimal'),
    sa.ForeignKeyConstraint(['organization_id', 'application_id'], ['application.organization_id', 'application.application_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('context_id')
    )
    op.create_index('context_of_application', 'context', ['application_id', 'context_id'], unique=False)
    op.create_table('context_token',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('context_id', sa.String(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['job_id'], ['job.job_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'attempt'),
    sa.UniqueConstraint('token_hash')
    )
