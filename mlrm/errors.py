"""Every error this package raises on purpose, under one base: callers catch families, not messages.

No heavy import here: the command line and the catalogue use these types without torch or Pillow.
"""

from __future__ import annotations


class MLRMError(Exception):
    """Base of all errors that a caller or user can act upon; the message says what to do."""


class ImageError(MLRMError):
    """An image that can't be used.

    Attributes:
        source: where the image came from, as shown to the user (a path, or a description such as "12 bytes").
        reason: what was found, what was expected and what to do, without the source.
    """

    def __init__(self, source: str, reason: str) -> None:
        # Both go to Exception's args: the error survives pickling between worker processes.
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class ImageUnreadableError(ImageError):
    """The bytes can't be had: the file is missing, a directory, or may not be read."""


class ImageDecodeError(ImageError):
    """The bytes aren't a whole image: another kind of file, truncated, damaged or empty."""


class ImageSizeError(ImageError):
    """The image is too small to carry a shape, or larger than the pixel limit (a decompression bomb)."""


class ImageFormatError(ImageError):
    """The pixels have a type or range with no defined mapping to 8-bit RGB."""


class CheckpointError(MLRMError):
    """A checkpoint is missing, damaged, of another kind, or holds code."""


class DatasetError(MLRMError):
    """A folder holds no known dataset layout, or a layout lacks a part."""


class ConfigError(MLRMError):
    """A configuration has an unknown key or a value outside its range."""


class TrainingError(MLRMError):
    """Training can't go on: the loss is no longer a finite number."""
