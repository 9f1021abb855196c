"""The tables of docs/servers.rst, made of the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .products import PRODUCTS, Product

__all__ = ["commands", "releases"]


def list_table(rows: Iterable[Sequence[str]]) -> str:
    """reStructuredText, whose first row is the heading."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if n == 0 else ' '} - {cell}" for n, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def releases(products: Iterable[Product] = PRODUCTS) -> str:
    """What releases for whom."""
    heading = ("You run", "Set", "Without", "Sessions at most")
    rows = ((one.name, one.sets, one.without, one.sessions) for one in products)
    return list_table([heading, *rows])


def commands(products: Iterable[Product] = PRODUCTS) -> str:
    """How each was run."""
    heading = ("Name", "Package", "Command")
    return list_table([heading, *((one.name, package(one), command(one)) for one in products)])


def package(product: Product) -> str:
    return " or ".join(f"``{name}``" for name in product.package.split())


def command(product: Product) -> str:
    return f"``{product.command.format(port='PORT', site='SITE')}``"


if __name__ == "__main__":
    import sys

    sys.stdout.write(releases() + "\n" + commands())
