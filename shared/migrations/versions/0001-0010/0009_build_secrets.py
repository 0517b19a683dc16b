"""Build secrets: what the steps of a build may mount goes with its job."""

from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

RULE = "(purpose IN ('password', 'git_token', 'build_secrets') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)"


def upgrade() -> None:
    op.drop_constraint('purpose_known', 'job_secret')
    op.create_check_constraint('purpose_known', 'job_secret', RULE)
