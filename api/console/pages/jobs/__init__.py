"""Jobs: the list with its filters, one job that is followed, cancelling and retrying."""

from api.console.pages.jobs import many, one, overview

ROUTES = (*overview.ROUTES, *many.ROUTES, *one.ROUTES)
