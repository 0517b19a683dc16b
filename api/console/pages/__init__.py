"""The pages: an explicit list, in the order of the navigation."""

from api.console.pages import overview, registries, sign_in

ROUTES = (*sign_in.ROUTES, *overview.ROUTES, *registries.ROUTES)
