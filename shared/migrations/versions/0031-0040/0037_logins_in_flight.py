"""Renew the login of a running attempt, keep a source for one test, and find missing repositories."""

from alembic import op
import sqlalchemy as sa

revision = '0037'
down_revision = '0035'
branch_labels = None
depends_on = None

GIVEN = "purpose IN ('password', 'git_token', 'git_ssh_key', 'build_secrets', 'environment', 'credential_source') AND attempt = 0"


def upgrade() -> None:
    op.add_column('job_secret', sa.Column('number', sa.Integer(), nullable=False, server_default=sa.text('1')))
    op.add_column('job_secret', sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint('purpose_known', 'job_secret')
    op.create_check_constraint('purpose_known', 'job_secret', f"({GIVEN}) OR (purpose = 'login' AND attempt > 0)")
    op.create_index(
        'job_secret_source', 'job_secret', ['job_id'], postgresql_where=sa.text("purpose = 'credential_source'")
    )
    op.create_index(
        'job_without_repository',
        'job',
        ['registry_id'],
        postgresql_where=sa.text("state = 'queued' AND error->>'code' = 'repo_missing'"),
    )
