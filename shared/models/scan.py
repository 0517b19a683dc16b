"""Reports about images: SBOMs, the packages in them, and vulnerabilities."""

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment


class ImageReport(SQLModel, table=True):
    """The newest SBOM of an image, and the newest scan of it; either may be missing.

    ``sbom`` and ``vulnerabilities`` are as in `shared.scans.report`. ``server_id`` reported last.
    """

    __tablename__ = "image_report"
    __table_args__ = (Index("image_report_age", "updated_at"),)

    organization_id: str = Field(
        primary_key=True, foreign_key="organization.organization_id", ondelete="CASCADE"
    )
    digest: str = Field(primary_key=True)
    reference: str
    server_id: str
    sbom: dict[str, Any] | None = document()
    sbom_at: Moment = moment()
    vulnerabilities: dict[str, Any] | None = document()
    scanned_at: Moment = moment()
    updated_at: Moment = moment(default_now=True)


class ImagePackage(SQLModel, table=True):
    """A package of an image; ``type`` is that of its package URL, as ``deb`` or ``pypi``."""

    __tablename__ = "image_package"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "digest"],
            ["image_report.organization_id", "image_report.digest"],
            ondelete="CASCADE",
        ),
        Index("image_package_name", "organization_id", text("lower(name)")),
    )

    organization_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    type: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
