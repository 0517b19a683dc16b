"""Applications: the list, one of them, creating and changing, and what is built and deployed."""

from api.console.pages.applications import (
    actions,
    builds,
    create,
    deployments,
    digests,
    hooks,
    logs,
    one,
    overview,
    rollbacks,
    settings,
    upload,
)

ROUTES = (
    *overview.ROUTES,
    *create.ROUTES,
    *upload.ROUTES,
    *one.ROUTES,
    *actions.ROUTES,
    *settings.ROUTES,
    *hooks.ROUTES,
    *digests.ROUTES,
    *logs.ROUTES,
    *builds.ROUTES,
    *deployments.ROUTES,
    *rollbacks.ROUTES,
)
