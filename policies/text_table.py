"""Tables of plain text."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Return each row as a line, two spaces between columns that are as wide as their widest cell.

    :param rows: of equal length
    :param left: the columns that are aligned on the left; the others are on the right
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{'<' if column in left else '>'}{width}}}" for column, width in enumerate(widths))
    return [form.format(*row) for row in rows]
