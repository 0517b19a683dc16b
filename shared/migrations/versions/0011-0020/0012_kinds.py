"""Three more kinds of jobs: proving an image, deleting one, running one in a Swarm."""

from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

KINDS = "kind IN ('registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.prove', 'image.delete', 'compose.pull', 'container.replace', 'service.replace')"


def upgrade() -> None:
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
