"""What the export raises on purpose."""

from mlrm.errors import MLRMError


class ExportError(MLRMError):
    """A model that can't be exported as asked, on this machine; the message names the command that works."""


class ParityError(ExportError):
    """An exported model differs from its original by more than its precision may."""
