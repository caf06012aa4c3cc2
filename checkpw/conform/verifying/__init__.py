"""The properties of a checkpassword program, in the order in which they are tried."""

from checkpw.conform.model import Property
from checkpw.conform.verifying.records import PROPERTIES as RECORDS
from checkpw.conform.verifying.target import Verifier
from checkpw.conform.verifying.verdicts import PROPERTIES as VERDICTS

__all__ = ["PROPERTIES", "Verifier"]

PROPERTIES: tuple[Property, ...] = (*VERDICTS, *RECORDS)
