"""Copies of whole disks: sparse-aware, several at once, complete under their name or not there at all."""

from asyncvddk.copy._destinations import CopyJob, CopyOptions, CopyPlan, extents_among, plan_copies
from asyncvddk.copy._jobs import JOBS, CopyObserver, CopyOutcome, copy_disks, refuse_unreadable
from asyncvddk.copy._pipeline import CHUNK_SIZE, IN_FLIGHT, CopyProgress, CopyResult, copy_disk
from asyncvddk.copy._places import EXISTS
from asyncvddk.copy._sources import create_type, files_of, is_vmdk
from asyncvddk.copy._targets import RawTarget, Target, VmdkTarget

__all__ = [
    "CHUNK_SIZE",
    "EXISTS",
    "IN_FLIGHT",
    "JOBS",
    "CopyJob",
    "CopyObserver",
    "CopyOptions",
    "CopyOutcome",
    "CopyPlan",
    "CopyProgress",
    "CopyResult",
    "RawTarget",
    "Target",
    "VmdkTarget",
    "copy_disk",
    "copy_disks",
    "create_type",
    "extents_among",
    "files_of",
    "is_vmdk",
    "plan_copies",
    "refuse_unreadable",
]
