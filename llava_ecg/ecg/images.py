"""Images of ECG pages, as a person sees them: upright, opaque, RGB."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from llava_ecg.errors import InputError, refuse_streams

if TYPE_CHECKING:
    from PIL.Image import Image

PIXEL_LIMIT = 100_000_000
"""An image may have at most so many pixels: a page at 600 dpi has 35 million."""

SMALLEST_SIDE = 32
"""An image with a shorter side, in pixels, can't show an ECG."""


def read_image(path: Path) -> Image:
    """An image of an ECG page as RGB, turned upright as its camera noted, on white where it is transparent.

    Raises:
        InputError: no such file, not an image, cut short, too small, or too large to be one.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    large = f"at most {PIXEL_LIMIT // 1_000_000} million are read: make it smaller"
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the image file itself")
        if not path.exists():
            raise InputError(f"no such image: {path}")
        refuse_streams(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below says it
            # from memory: a part of a PNG may promise 4 GB, which is asked for where a file on disk is read
            with Image.open(BytesIO(path.read_bytes())) as image:
                wide, high = image.size
                if wide * high > PIXEL_LIMIT:
                    raise InputError(f"{path} has {wide} x {high} pixels; {large}")
                if min(wide, high) < SMALLEST_SIDE:
                    raise InputError(
                        f"{path} has {wide} x {high} pixels, too few to show an ECG; give at least {SMALLEST_SIDE} "
                        "a side"
                    )
                return as_seen(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels; {large}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image; give a PNG or JPEG of the page") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:  # damaged files, by decoder
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path} can't be read as an image ({reason}); give a PNG or JPEG of the page") from error


def as_seen(image: Image) -> Image:
    """RGB as a viewer shows it."""
    from PIL import Image as images

    if image.mode.startswith(("I", "F")):  # 16 bits a pixel: Pillow would clip them to white
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = images.alpha_composite(images.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
