"""The two domains of restyling: pictures as they were taken, and pictures in a style."""

from __future__ import annotations

from typing import Literal

Domain = Literal["plain", "styled"]
DOMAINS: tuple[Domain, Domain] = ("plain", "styled")


def other(domain: Domain) -> Domain:
    """The domain on the other side.

    >>> other("plain")
    'styled'
    """
    return "styled" if domain == "plain" else "plain"
