"""``make docs``: write the generated modules of the client anew."""

from tests.api.client.generator.modules import make_modules

for path, text in make_modules().items():
    path.write_text(text, encoding="utf-8")
