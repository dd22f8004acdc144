"""Marked blocks of Markdown files: what a program measured, between two comments, never typed.

    <!-- NAME:begin COMMAND -->
    ... replaced ...
    <!-- NAME:end -->
"""
import re
from pathlib import Path


def replace(path, name, text, command):
    """Puts `text` between the markers of `name` and notes the command that made it."""
    path = Path(path)
    old = path.read_text(encoding="utf-8")
    block = f"<!-- {name}:begin {command} -->\n{text.strip()}\n<!-- {name}:end -->"
    pattern = rf"<!-- {re.escape(name)}:begin[^\n]*-->\n.*?<!-- {re.escape(name)}:end -->"
    new, count = re.subn(pattern, lambda _: block, old, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"error: {path}: wanted one block '<!-- {name}:begin -->', found {count}")
    path.write_text(new, encoding="utf-8")


def table(header, rows):
    """A Markdown table; columns after the first are aligned to the right."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def processor():
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()
