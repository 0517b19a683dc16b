"""The pages: an explicit list, in the order of the navigation."""

from api.console.pages import (
    account,
    images,
    jobs,
    matrix,
    overview,
    people,
    registries,
    registry_form,
    rotation,
    sign_in,
)

ROUTES = (
    *sign_in.ROUTES,
    *overview.ROUTES,
    *registry_form.ROUTES,
    *registries.ROUTES,
    *rotation.ROUTES,
    *matrix.ROUTES,
    *jobs.ROUTES,
    *images.ROUTES,
    *people.ROUTES,
    *account.ROUTES,
)
