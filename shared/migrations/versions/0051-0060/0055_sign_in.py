"""Store links for new passwords, the OIDC provider that signs people in, and the last code of a second factor."""

from alembic import op
import sqlalchemy as sa

revision = '0055'
down_revision = '0054'
branch_labels = None
depends_on = None


def moment(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=None if nullable else sa.text('now()'))


def upgrade() -> None:
    op.add_column('user_account', sa.Column('second_factor_step', sa.BigInteger(), nullable=True))
    op.add_column('user_account', moment('refused_at', nullable=True))
    op.create_table('password_reset',
    sa.Column('reset_id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('made_by', sa.String(), nullable=True),
    moment('created_at'),
    moment('expires_at'),
    moment('used_at', nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['user_account.user_id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('reset_id'),
    sa.UniqueConstraint('token_hash')
    )
    op.create_index(op.f('ix_password_reset_user_id'), 'password_reset', ['user_id'], unique=False)
    op.create_table('sign_in_provider',
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('proof_hash', sa.LargeBinary(), nullable=False),
    moment('created_at'),
    sa.PrimaryKeyConstraint('issuer')
    )
