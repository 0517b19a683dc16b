"""The web console: pages that are rendered on the server and call the API's procedures.

```text
site      the routes, and how a request becomes a page
page      one request: its member, its form, the procedures that it calls
session   the cookie of a session, and the token that each form carries
pages/    one module a noun     templates/  Jinja2, one folder a noun     static/  CSS, scripts
```
"""
