"""``/docs``: the OpenAPI document as a plain page, without a script and without asking another server."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edgeleuk: interface</title>
<link rel="stylesheet" href="/page/style.css">
</head>
<body>
<main class="docs">
<h1>{title} {version}</h1>
<p class="research">{description}</p>
<p>Programs send the token as <code>Authorization: Bearer TOKEN</code>, and what they ask for as
<code>application/json</code>. The whole document: <a href="/openapi.json">/openapi.json</a>.</p>
{routes}
</main>
</body>
</html>
"""


def documentation_page(document: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    document : mapping
        As FastAPI makes it.
    """
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        description=escape(info.get("description", "")),
        routes="\n".join(_routes(document)),
    )


def _routes(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(route.get('description') or route.get('summary', ''))}</p>"
            parameters = [
                f"<li><code>{escape(one['name'])}</code> in the {escape(one['in'])}"
                f"{': ' + escape(json.dumps(one['schema'])) if 'schema' in one else ''}</li>"
                for one in route.get("parameters", [])
            ]
            if parameters:
                yield f"<ul>{''.join(parameters)}</ul>"
            for content in route.get("requestBody", {}).get("content", {}).values():
                yield f"<pre tabindex=0>{escape(_schema(document, content.get('schema', {})))}</pre>"


def _schema(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return a schema as JSON, with what it refers to put in."""
    name = schema.get("$ref", "").rpartition("/")[2]
    whole = document.get("components", {}).get("schemas", {}).get(name, schema)
    return json.dumps(whole, indent=1)
