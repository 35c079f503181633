"""The web page of a server: its own few files and the viewer of the report, and the headers that keep it to itself."""

import re
from importlib.metadata import version
from importlib.resources import files

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from emofuse.interfaces.report import asset

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-cache",
}
TYPES = {".css": "text/css", ".js": "text/javascript"}
FILES = ("page.css", "page.js", "report.css", "report.js")


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/``, and its files under ``/page/``."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        values = {"viewer": asset("viewer.html"), "notice": asset("notice.html"), "version": version("emofuse")}
        content = re.sub(r"{{(\w+)}}", lambda found: values[found[1]], _own("index.html"))
        return Response(content, media_type="text/html; charset=utf-8", headers=HEADERS)

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        content = asset(name) if name.startswith("report.") else _own(name)
        kind = TYPES[name[name.rindex(".") :]]
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)


def _own(name: str) -> str:
    return files("emofuse.server").joinpath("web", name).read_text(encoding="utf-8")
