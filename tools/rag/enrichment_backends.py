"""The established import path of the backend cascade; the code is in llmc."""

from llmc.backends.cascade import BackendAdapter, BackendCascade
from llmc.errors import BackendError
from llmc.models import AttemptRecord

__all__ = ["AttemptRecord", "BackendAdapter", "BackendCascade", "BackendError"]
