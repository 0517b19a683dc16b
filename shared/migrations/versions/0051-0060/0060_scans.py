"""SBOMs and scans of images: their reports, the packages in them, and the policies."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0060'
down_revision = '0059'
branch_labels = None
depends_on = None

KINDS = "kind IN ('server.check', 'registry.test', 'image.pull', 'image.push', 'image.tag', 'image.build', 'image.copy', 'image.verify', 'image.delete', 'image.inspect', 'image.tags', 'image.repositories', 'image.scan', 'signature.sign', 'signature.verify', 'compose.pull', 'container.replace', 'service.replace', 'service.login', 'application.control', 'application.logs')"


def upgrade() -> None:
    document = postgresql.JSONB(none_as_null=True)
    op.create_table(
        'image_report',
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('digest', sa.String(), nullable=False),
        sa.Column('reference', sa.String(), nullable=False),
        sa.Column('server_id', sa.String(), nullable=False),
        sa.Column('sbom', document, nullable=True),
        sa.Column('sbom_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('vulnerabilities', document, nullable=True),
        sa.Column('scanned_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('organization_id', 'digest'),
    )
    op.create_index('image_report_age', 'image_report', ['updated_at'])
    op.create_table(
        'image_package',
        sa.Column('organization_id', sa.String(), nullable=False),
        sa.Column('digest', sa.String(), nullable=False),
        sa.Column('type', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('version', sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ['organization_id', 'digest'],
            ['image_report.organization_id', 'image_report.digest'],
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('organization_id', 'digest', 'type', 'name', 'version'),
    )
    op.create_index('image_package_name', 'image_package', ['organization_id', sa.text('lower(name)')])
    for table in ('organization', 'application'):
        op.add_column(table, sa.Column('scan_policy', document, nullable=True))
    op.add_column('build', sa.Column('scan_job_id', sa.String(), nullable=True))
    op.drop_constraint('kind_known', 'job')
    op.create_check_constraint('kind_known', 'job', KINDS)
