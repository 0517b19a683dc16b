"""The pages: an explicit list, in the order of the navigation."""

from api.console.pages import account, overview, people, registries, sign_in

ROUTES = (
    *sign_in.ROUTES,
    *overview.ROUTES,
    *registries.ROUTES,
    *people.ROUTES,
    *account.ROUTES,
)
