"""One more kind of job: checking a server, from the API to its Engine and back."""

from alembic import op

revision = '0020'
down_revision = '0018'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.prove', 'image.delete', 'compose.pull', 'container.replace', 'service.replace')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
