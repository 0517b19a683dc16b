"""Store people: users, members, invitations and sessions; name the actor of what was done."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0050'
down_revision = '0049'
branch_labels = None
depends_on = None

ROLES = "role IN ('owner', 'admin', 'member', 'viewer')"


def moment(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=None if nullable else sa.text('now()'))


def upgrade() -> None:
    op.create_table('user_account',
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('email', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('salt', sa.LargeBinary(), nullable=False),
    sa.Column('derivation', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
    sa.Column('proof_hash', sa.LargeBinary(), nullable=False),
    sa.Column('second_factor', sa.LargeBinary(), nullable=True),
    moment('created_at'),
    moment('signed_in_at', nullable=True),
    sa.PrimaryKeyConstraint('user_id'),
    sa.UniqueConstraint('email')
    )
    op.create_table('member',
    sa.Column('member_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('role', sa.String(), nullable=False),
    moment('created_at'),
    sa.CheckConstraint(ROLES, name='role_known'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['user_id'], ['user_account.user_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('member_id'),
    sa.UniqueConstraint('organization_id', 'user_id')
    )
    op.create_index(op.f('ix_member_user_id'), 'member', ['user_id'], unique=False)
    op.create_table('invitation',
    sa.Column('invitation_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('email', sa.String(), nullable=True),
    sa.Column('role', sa.String(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('invited_by', sa.String(), nullable=True),
    moment('created_at'),
    moment('expires_at'),
    moment('accepted_at', nullable=True),
    sa.CheckConstraint(ROLES, name='role_known'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('invitation_id'),
    sa.UniqueConstraint('token_hash')
    )
    op.create_index(op.f('ix_invitation_organization_id'), 'invitation', ['organization_id'], unique=False)
    op.create_table('user_session',
    sa.Column('session_id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('address', sa.String(), nullable=False),
    sa.Column('user_agent', sa.String(), nullable=False),
    moment('created_at'),
    moment('last_used_at'),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.organization_id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['user_id'], ['user_account.user_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id'),
    sa.UniqueConstraint('token_hash')
    )
    op.create_index(op.f('ix_user_session_user_id'), 'user_session', ['user_id'], unique=False)
    op.add_column('api_key', sa.Column('member_id', sa.String(), nullable=True))
    op.create_foreign_key('api_key_member_id_fkey', 'api_key', 'member', ['member_id'], ['member_id'], ondelete='CASCADE')
    op.create_index(op.f('ix_api_key_member_id'), 'api_key', ['member_id'], unique=False)
    op.alter_column('audit_event', 'api_key_id', new_column_name='actor_id')
    op.drop_constraint('idempotency_api_key_id_fkey', 'idempotency', type_='foreignkey')
    op.alter_column('idempotency', 'api_key_id', new_column_name='actor_id')
