"""Pictures of every page and of the guides, to look at: `make screenshots`, or `python -m tests.screenshots OUT`.

The demo's cohort in a system of its own; light and dark, as wide as a desk and as a phone. It says of each page what
runs out of the window and what axe-core finds. Needs chromium; no picture shows a person.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.guide_pictures import take_guide_pictures
from tests.screens import DESK, PHONE, chromium, overflows, violations, window
from tests.system import OVERREAD, System

THEMES = ("light", "dark")
SIZES = {"desk": DESK, "phone": PHONE}
NIGHTLY = {"name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "job": {"model": "phantom-lesion"}}


def pages_of(system: System, page: Any) -> Iterator[tuple[str, str]]:
    """The name and the path of each page: the rooms above, and one of what each of them lists."""
    for link in page.locator(".top nav a").all():
        path = link.get_attribute("href")
        yield path.strip("/") or "tonight", path
    for name in ("jobs", "reports"):
        for item in system.pages(f"/api/v1/{name}", limit=1)[:1]:
            yield name.removesuffix("s"), f"/{name}/{item['id']}"
    (model, *_) = system.http.get("/api/v1/models").json()["items"]
    yield "model", f"/models/{model['name']}/{model['version']}"
    for whom in ("physicians", "operators"):
        yield f"help-{whom}", f"/help/{whom}"


def main() -> None:
    """Write them into the folder that is named."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ovr-") as scratch:
        data = Path(scratch) / "data"
        subprocess.run([str(OVERREAD), "demo", "--data-dir", str(data)], check=True)
        system = System(data, {}, ())
        try:
            system.http.post("/api/v1/schedules", json=NIGHTLY)
            with chromium() as browser:
                for theme in THEMES:
                    for size, viewport in SIZES.items():
                        _take(browser, system, out, f"{theme}.{size}", color_scheme=theme, viewport=viewport)
                # Last: these change what there is.
                take_guide_pictures(browser, system, out / "guides")
        finally:
            system.stop()


def _take(browser: Any, system: System, out: Path, suffix: str, **options: Any) -> None:
    token = (system.files / "admin-token").read_text().strip()
    with window(browser, f"http://127.0.0.1:{system.port}", token, **options) as page:
        for name, path in list(pages_of(system, page)):
            page.goto(path)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=out / f"{name}.{suffix}.png", full_page=True)
            for said in [*(["runs out of the window"] if overflows(page) else []), *violations(page)]:
                sys.stdout.write(f"{name}.{suffix}: {said}\n")


if __name__ == "__main__":
    main()
