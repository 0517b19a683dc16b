"""Pages of registries, of what is in them, and of their tests."""

from api.console.pages.registries import contents, form, matrix, one, rotation

ROUTES = (*form.ROUTES, *one.ROUTES, *contents.ROUTES, *rotation.ROUTES, *matrix.ROUTES)
