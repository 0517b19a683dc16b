"""Pages of servers."""

from api.console.pages.servers import form, one

ROUTES = (*form.ROUTES, *one.ROUTES)
