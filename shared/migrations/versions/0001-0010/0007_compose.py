"""Compose: one more kind of jobs."""

from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

KINDS = "kind IN ('registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'compose.pull')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
