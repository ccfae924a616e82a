"""Pictures of made reports, to look at: `python -m tests.report_pictures OUT [SAMPLE...]`.

The samples as HTML and PDF in both languages, and as PNG: pages at the widths of a desk and of a phone, light and dark,
and each sheet of the PDF. Needs chromium and pdftoppm (poppler-utils); no report is of a person.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from api.documents.content import page_of
from api.documents.html import make_html
from api.documents.pdf import make_pdf
from api.documents.wording import LANGUAGES, words_in
from tests.report_samples import SAMPLES, Version

WIDTHS = {"desk": 1280, "phone": 400}
HEIGHT = 4000
CHROMIUM = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
DARK = "--blink-settings=preferredColorScheme=0"


def write_documents(out: Path, name: str, version: Version, language: str) -> tuple[Path, Path]:
    """The sample as a page and as a PDF."""
    words = words_in(language)
    page = page_of(version.source, version.pictures.keys(), words)
    made_at = datetime.fromisoformat(version.source.document["version"]["created_at"])
    html, pdf = out / f"{name}.{language}.html", out / f"{name}.{language}.pdf"
    html.write_bytes(make_html(page, version.pictures))
    pdf.write_bytes(make_pdf(page, version.pictures, words, made_at))
    return html, pdf


def take_picture(page: Path, target: Path, width: int, *options: str) -> None:
    """The page as a browser shows it, without the empty rest."""
    from PIL import Image, ImageChops

    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        size = f"--window-size={width},{HEIGHT}"
        command = [*CHROMIUM, f"--user-data-dir={profile}", size, *options, f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(target) as opened:
        whole = opened.convert("RGB")
    empty = Image.new("RGB", whole.size, whole.getpixel((0, HEIGHT - 1)))
    box = ImageChops.difference(whole, empty).getbbox() or (0, 0, width, 1)
    bottom = min(HEIGHT, box[3] + 24)
    whole.crop((0, 0, width, bottom)).quantize(256, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


def main(out: Path, names: Sequence[str]) -> None:
    """Those that are named, or all."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names or SAMPLES:
        version = SAMPLES[name]()
        for language in LANGUAGES:
            html, pdf = write_documents(out, name, version, language)
            for place, width in WIDTHS.items():
                take_picture(html, html.with_suffix(f".{place}.png"), width)
            subprocess.run(["pdftoppm", "-r", "80", "-png", pdf, pdf.with_suffix(".pdf")], check=True)
        take_picture(html, html.with_suffix(".dark.png"), WIDTHS["desk"], DARK)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
