"""Store deploy keys of repositories behind SSH, and the pinned keys of their hosts."""

from alembic import op
import sqlalchemy as sa

revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None

PURPOSES = "(purpose IN ('password', 'git_token', 'git_ssh_key', 'build_secrets', 'environment') AND attempt = 0) OR (purpose = 'login' AND attempt > 0)"


def upgrade() -> None:
    for column in ('git_ssh_key', 'git_ssh_public_key', 'git_host_key'):
        op.add_column('application', sa.Column(column, sa.String(), nullable=True))
    for name, rule in (
        ('git_ssh_key_sealed', "starts_with(git_ssh_key, 'v1.')"),
        ('git_ssh_key_has_public', "(git_ssh_key IS NULL) = (git_ssh_public_key IS NULL)"),
        ('git_ssh_key_bound', "git_ssh_key IS NULL OR git_host IS NOT NULL"),
    ):
        op.create_check_constraint(name, 'application', rule)
    op.drop_constraint('purpose_known', 'job_secret')
    op.create_check_constraint('purpose_known', 'job_secret', PURPOSES)
