"""The properties of a checkpassword program, in the order in which they are tried."""

from checkpw.conform.model import Property
from checkpw.conform.verifying.crowd import PROPERTIES as CROWD
from checkpw.conform.verifying.descriptor3 import PROPERTIES as DESCRIPTOR_3
from checkpw.conform.verifying.descriptors import PROPERTIES as DESCRIPTORS
from checkpw.conform.verifying.environment import PROPERTIES as ENVIRONMENT
from checkpw.conform.verifying.handover import PROPERTIES as HANDOVER
from checkpw.conform.verifying.identity import PROPERTIES as IDENTITY
from checkpw.conform.verifying.records import PROPERTIES as RECORDS
from checkpw.conform.verifying.searching import PROPERTIES as SEARCHING
from checkpw.conform.verifying.signals import PROPERTIES as SIGNALS
from checkpw.conform.verifying.target import Verifier
from checkpw.conform.verifying.timing import PROPERTIES as TIMING
from checkpw.conform.verifying.verdicts import PROPERTIES as VERDICTS

__all__ = ["PROPERTIES", "Verifier"]

PROPERTIES: tuple[Property, ...] = (
    *VERDICTS,
    *RECORDS,
    *DESCRIPTOR_3,
    *DESCRIPTORS,
    *HANDOVER,
    *SEARCHING,
    *SIGNALS,
    *ENVIRONMENT,
    *IDENTITY,
    *TIMING,
    *CROWD,
)
