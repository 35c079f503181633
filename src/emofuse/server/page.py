"""The web page of a server: its own few files and the viewer of the report, and the headers that keep it to itself."""

import re
from importlib.metadata import version
from importlib.resources import files

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from emofuse.interfaces.report import asset, viewer
from emofuse.server.settings import ServerSettings

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
FILES = ("page.css", "page.js", "record.js", "server.js", "report.css", "report.js")


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/``, and its files under ``/page/``."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        settings: ServerSettings = app.state.settings
        values = {
            "viewer": viewer(""),
            "notice": asset("notice.html"),
            "version": version("emofuse"),
            "max_bytes": str(settings.max_job_bytes),
            "limits": _limits(settings),
        }
        content = re.sub(r"{{(\w+)}}", lambda found: values[found[1]], _own("index.html"))
        return Response(content, media_type="text/html; charset=utf-8", headers=HEADERS)

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        content = asset(name) if name.startswith("report.") else _own(name)
        kind = TYPES[name[name.rindex(".") :]]
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)


def _limits(settings: ServerSettings) -> str:
    """What the server takes, in words."""
    megabytes, minutes = settings.max_job_bytes / 1e6, settings.max_job_s / 60
    size = f"{megabytes / 1000:g} GB" if megabytes >= 1000 else f"{megabytes:g} MB"
    length = f"{minutes / 60:g} hours" if minutes >= 120 else f"{minutes:g} minutes"
    return f"up to {size} and {length}"


def _own(name: str) -> str:
    return files("emofuse.server").joinpath("web", name).read_text(encoding="utf-8")
