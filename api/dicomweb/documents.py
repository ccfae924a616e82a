"""Instances as data sets of the DICOM JSON model (PS3.18, F), with what the index knows (PS3.18, 10.6.3.3)."""

from typing import Any

from shared.models import Instance


def document_of(instance: Instance, study_uid: str, series_uid: str) -> dict[str, Any]:
    """One instance; what has no pixels has no rows."""
    known = [
        ("00080016", "UI", instance.sop_class_uid),
        ("00080018", "UI", instance.sop_instance_uid),
        ("0020000D", "UI", study_uid),
        ("0020000E", "UI", series_uid),
        ("00200013", "IS", instance.instance_number),
    ]
    if instance.has_pixel_data:
        known += [
            ("00280008", "IS", instance.number_of_frames),
            ("00280010", "US", instance.rows),
            ("00280011", "US", instance.columns),
            ("00280100", "US", instance.bits_allocated),
        ]
    return {tag: {"vr": vr, "Value": [value]} for tag, vr, value in known}
