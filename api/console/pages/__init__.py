"""The pages: an explicit list, in the order of the navigation."""

from api.console.pages import (
    account,
    applications,
    images,
    jobs,
    oidc,
    overview,
    password_reset,
    people,
    registries,
    servers,
    sign_in,
    signing,
    webhooks,
)

ROUTES = (
    *sign_in.ROUTES,
    *oidc.ROUTES,
    *password_reset.ROUTES,
    *overview.ROUTES,
    *registries.ROUTES,
    *jobs.ROUTES,
    *images.ROUTES,
    *signing.ROUTES,
    *applications.ROUTES,
    *servers.ROUTES,
    *webhooks.ROUTES,
    *people.ROUTES,
    *account.ROUTES,
)
