"""The page /docs: Swagger UI from an installed package; a ground segment has no internet to load it from."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""What the browser may load for the page: Swagger UI writes styles and one script into it, all else is ours."""


def add_pages(app: FastAPI, document_url: str) -> None:
    """Serve the API's documentation at /docs."""
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="assets")
    page = get_swagger_ui_html(
        openapi_url=document_url,
        title=f"{app.title} API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # else it asks validator.swagger.io for a badge
    )
    page.headers["content-security-policy"] = POLICY

    async def docs() -> HTMLResponse:
        """Return the page."""
        return page

    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
