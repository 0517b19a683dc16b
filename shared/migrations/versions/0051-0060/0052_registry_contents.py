"""Accept jobs that list repositories and tags, and inspect an image."""

from alembic import op

revision = '0052'
down_revision = '0051'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'image.inspect', 'image.tags', 'image.repositories', 'compose.pull', 'container.replace', 'service.replace', 'service.login', 'application.control', 'application.logs')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
