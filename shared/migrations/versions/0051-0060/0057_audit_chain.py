"""Chain the audit log, with signed checkpoints and closed segments."""

from alembic import op
import sqlalchemy as sa

revision = '0057'
down_revision = '0056'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('audit_event', sa.Column('sequence', sa.BigInteger(), nullable=True))
    op.add_column('audit_event', sa.Column('previous_hash', sa.LargeBinary(), nullable=True))
    op.add_column('audit_event', sa.Column('hash', sa.LargeBinary(), nullable=True))
    op.create_unique_constraint(None, 'audit_event', ['organization_id', 'sequence'])
    op.create_check_constraint(
        'place_is_whole',
        'audit_event',
        '(sequence IS NULL) = (hash IS NULL) AND (sequence IS NULL) = (previous_hash IS NULL)',
    )
    op.create_index(
        'audit_event_pending',
        'audit_event',
        ['organization_id', 'audit_event_id'],
        postgresql_where=sa.text('sequence IS NULL'),
    )
    organization = sa.ForeignKey('organization.organization_id')
    zero = {'server_default': sa.text('0'), 'nullable': False}
    op.create_table(
        'audit_chain',
        sa.Column('organization_id', sa.String(), organization, primary_key=True),
        sa.Column('sequence', sa.BigInteger(), **zero),
        sa.Column('hash', sa.LargeBinary(), nullable=False),
        sa.Column('checkpoint', sa.BigInteger(), **zero),
        sa.Column('checkpoint_sequence', sa.BigInteger(), **zero),
        sa.Column('checkpoint_at', sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        'audit_checkpoint',
        sa.Column('organization_id', sa.String(), sa.ForeignKey('organization.organization_id'), primary_key=True),
        sa.Column('number', sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('hash', sa.LargeBinary(), nullable=False),
        sa.Column('at', sa.String(), nullable=False),
        sa.Column('key_id', sa.String(), nullable=False),
        sa.Column('signature', sa.String(), nullable=False),
    )
    op.create_table(
        'audit_segment',
        sa.Column('organization_id', sa.String(), sa.ForeignKey('organization.organization_id'), primary_key=True),
        sa.Column('first_sequence', sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column('last_sequence', sa.BigInteger(), nullable=False),
        sa.Column('previous_hash', sa.LargeBinary(), nullable=False),
        sa.Column('last_hash', sa.LargeBinary(), nullable=False),
        sa.Column('checkpoint', sa.BigInteger(), nullable=False),
        sa.Column('file', sa.String(), nullable=False),
        sa.Column('file_sha256', sa.String(), nullable=False),
        sa.Column('at', sa.String(), nullable=False),
        sa.Column('key_id', sa.String(), nullable=False),
        sa.Column('signature', sa.String(), nullable=False),
    )
    op.create_table(
        'audit_key',
        sa.Column('key_id', sa.String(), primary_key=True),
        sa.Column('public_key', sa.String(), nullable=False),
        sa.Column('sealed', sa.String(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    )
