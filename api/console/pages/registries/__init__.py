"""Pages of registries and of their tests."""

from api.console.pages.registries import form, matrix, one, rotation

ROUTES = (*form.ROUTES, *one.ROUTES, *rotation.ROUTES, *matrix.ROUTES)
