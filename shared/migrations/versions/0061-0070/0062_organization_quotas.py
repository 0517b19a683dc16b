"""Give an organization quotas of its own, in place of the API's settings."""

from alembic import op
import sqlalchemy as sa

revision = '0062'
down_revision = '0061'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('organization', sa.Column('application_quota', sa.Integer(), nullable=True))
    op.add_column('organization', sa.Column('queued_job_quota', sa.Integer(), nullable=True))
    op.add_column('organization', sa.Column('upload_quota_bytes', sa.BigInteger(), nullable=True))
    op.add_column('organization', sa.Column('webhook_quota', sa.Integer(), nullable=True))
    op.create_check_constraint(
        'quotas_not_negative',
        'organization',
        'least(application_quota, queued_job_quota, upload_quota_bytes, webhook_quota) >= 0',
    )
