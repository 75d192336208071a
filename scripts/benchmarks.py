"""What the measuring scripts share: the page their tables go into, and the machine's name."""

import os
import platform

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
PAGE = os.path.join(ROOT, "BENCHMARKS.md")


def write_section(name, text):
    """Puts `text` between the markers of section `name` of BENCHMARKS.md, or behind everything when there are none yet."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    with open(PAGE) as file:
        page = file.read()
    section = f"{begin}\n{text}\n{end}\n"
    if begin in page:
        page = page[:page.index(begin)] + section + page[page.index(end) + len(end) + 1:]
    else:
        page += f"\n{section}"
    with open(PAGE, "w") as file:
        file.write(page)


def processor():
    """Cores and model of this machine's processor."""
    with open("/proc/cpuinfo") as lines:
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {name}"
