"""Read the output of what runs of an application."""

from alembic import op

revision = '0031'
down_revision = '0030'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'compose.pull', 'container.replace', 'service.replace', 'application.control', 'application.logs')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
