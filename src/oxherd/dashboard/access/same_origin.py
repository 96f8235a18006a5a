"""Whether a request comes from a page of ours: by Fetch Metadata, else by its Origin (RFC 6454)."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request


def is_same_origin(request: Request) -> bool:
    """Whether a request that changes something may be one of a page of ours.

    A browser says where it comes from; who says nothing is no browser, and has to bring a token of its own.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    said = request.headers.get("origin") or request.headers.get("referer")
    if said is None:
        # No other scheme: a browser adds a password that it knows to the forms of any site.
        return request.headers.get("authorization", "").lower().startswith("bearer ")
    try:
        parts = urlsplit(said)
    except ValueError:
        return False
    # Behind a proxy that speaks TLS, the scheme that we see may be http.
    return parts.scheme in ("http", "https") and parts.netloc.lower() == request.headers.get("host", "").lower()
