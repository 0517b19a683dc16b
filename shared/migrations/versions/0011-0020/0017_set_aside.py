"""Rows that control sets aside; the order of deployments by the database; epochs."""

from alembic import op
import sqlalchemy as sa

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('set_aside',
    sa.Column('service', sa.String(), nullable=False),
    sa.Column('row_id', sa.String(), nullable=False),
    sa.Column('code', sa.String(), nullable=False),
    sa.Column('message', sa.String(), nullable=False),
    sa.Column('failures', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('next_at', sa.DateTime(timezone=True), server_default=sa.text("now() + interval '1 second'"), nullable=False),
    sa.PrimaryKeyConstraint('service', 'row_id')
    )

    # By the clock of the database, as far as it is known of those that are there.
    op.add_column('deployment', sa.Column('number', sa.BigInteger(), nullable=True))
    op.execute("""
        UPDATE deployment d SET number = place FROM (
          SELECT deployment_id, row_number() OVER (ORDER BY created_at, deployment_id) AS place FROM deployment
        ) known WHERE known.deployment_id = d.deployment_id""")
    op.alter_column('deployment', 'number', nullable=False)
    op.execute('ALTER TABLE deployment ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY')
    op.execute("""
        SELECT setval(pg_get_serial_sequence('deployment', 'number'), coalesce(max(number), 0) + 1, false)
          FROM deployment""")
    op.drop_index('deployment_of_application', 'deployment')
    op.create_index('deployment_of_application', 'deployment', ['application_id', 'number'], unique=False)

    op.add_column('organization', sa.Column('held_at', sa.DateTime(timezone=True), nullable=True))
    op.create_table('database_epoch',
    sa.Column('epoch_id', sa.String(), nullable=False),
    sa.Column('secret', sa.LargeBinary(), nullable=False),
    sa.Column('counter', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('raised_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('begun_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('epoch_id')
    )
