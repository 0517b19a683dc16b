"""What each organization may have at most, by the settings of the API."""

from dataclasses import dataclass

from shared.settings import ApiSettings


@dataclass(frozen=True)
class Quotas:
    """The quotas of an organization; 0 is no limit. ``streams`` are those of one API process."""

    applications: int
    queued_jobs: int
    upload_bytes: int
    streams: int
    webhooks: int

    @classmethod
    def of(cls, settings: ApiSettings) -> "Quotas":
        return cls(
            applications=settings.quota_applications,
            queued_jobs=settings.quota_queued_jobs,
            upload_bytes=settings.context_quota_bytes,
            streams=settings.quota_streams,
            webhooks=settings.quota_webhooks,
        )
