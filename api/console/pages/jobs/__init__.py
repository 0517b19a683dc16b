"""Jobs: the list with its filters, one job that is followed, and cancelling."""

from api.console.pages.jobs import cancelling, one, overview

ROUTES = (*overview.ROUTES, *cancelling.ROUTES, *one.ROUTES)
