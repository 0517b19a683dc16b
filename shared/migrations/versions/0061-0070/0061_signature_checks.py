"""Find the pulls whose signatures control has yet to check."""

from alembic import op
import sqlalchemy as sa

revision = '0061'
down_revision = '0060'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        'job_without_check',
        'job',
        ['job_id'],
        postgresql_where=sa.text("state = 'queued' AND command->>'control_check' = 'due'"),
    )
