"""A report's heat maps -> DICOM Secondary Capture, for systems that show images and nothing else."""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from api.documents.dicom_parts import (
    MANUFACTURER,
    as_given,
    content_moment,
    header_of,
    long_string,
    modality_of,
    to_bytes,
)
from api.documents.identity import made_uid, version_uid
from api.documents.source import IndexedInstance, Source
from api.pictures import WORDS, PictureMaker, Pixels
from shared.errors import NotFoundError, PermanentError
from shared.states import ReportStatus

Document = dict[str, Any]

SERIES_NUMBER = 9902  # beside that of the report
# Words of BodyPartExamined (PS3.16, annex L) for what there is once in a body.
UNPAIRED = frozenset(
    ("ABDOMEN", "BRAIN", "CHEST", "CSPINE", "HEAD", "HEART", "LIVER", "LSPINE", "NECK", "PELVIS", "SKULL", "TSPINE")
)
SIDES = frozenset({"L", "R"})
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Shown:
    """A row of a finding's evidence that has a heat map, and where its frame is from."""

    finding: Document
    frame: int
    heat_map: Document
    instance: IndexedInstance


def make_secondary_captures(source: Source, pictures: PictureMaker) -> bytes:
    """A zip of an instance for each heat map, in a series of its own in the study of its frame.

    Raises NotFoundError when the report is retracted, there is no heat map, or one cannot be shown any more.
    """
    if source.document["version"]["status"] == ReportStatus.RETRACTED:
        raise NotFoundError("This report is retracted, so no image is made of its heat maps; its SR says by whom.")
    shown = list(_shown(source))
    if not shown:
        raise NotFoundError("This report's evidence has no heat map, so there is none to make an image of.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(shown, start=1):
            image = _pixels(source, pictures, one)
            with as_given():
                dataset = _image(source, one, number, image)
                archive.writestr(zipfile.ZipInfo(f"{dataset.SOPInstanceUID}.dcm", ZIP_TIME), to_bytes(dataset))
    return buffer.getvalue()


def _shown(source: Source) -> Iterator[Shown]:
    for finding in source.document["findings"]:
        for row in finding["evidence"]:
            if row["heat_map"]:
                yield Shown(finding, row["frame"], row["heat_map"], source.instances[row["blob_sha256"]])


def _pixels(source: Source, pictures: PictureMaker, one: Shown) -> Pixels:
    try:
        return pictures.pixels(source.pictures[one.heat_map["id"]])
    except (PermanentError, NotFoundError) as error:
        raise NotFoundError(f"Heat map {one.heat_map['id']} cannot be shown any more: {error.message}") from error


def _image(source: Source, one: Shown, number: int, image: Pixels) -> Dataset:
    made = header_of(source, one.instance.study_instance_uid)
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = version_uid(source, "secondary-capture", one.heat_map["id"])
    _describe(made, source, one)
    made.InstanceNumber = number
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.SourceImageSequence = [_reference(one)]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = image.rows, image.columns
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.add_new("PixelData", "OB", image.rgb + b"\0" * (len(image.rgb) % 2))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def _describe(made: Dataset, source: Source, one: Shown) -> None:
    """The series, the equipment, and in words what is shown."""
    model, at = source.document["model"], content_moment(source, one.instance.study_instance_uid)
    of_model = f"{model['name']} version {model['version']}"
    what = long_string(one.finding["display"])
    made.SeriesInstanceUID = version_uid(source, "secondary-capture-series", one.instance.study_instance_uid)
    made.SeriesNumber = SERIES_NUMBER
    made.SeriesDescription = long_string(f"AI heat maps, not for diagnosis: {of_model}")
    made.Modality = modality_of(one.instance.modality)
    _place(made, one.instance)
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = long_string(model["name"])
    made.DeviceSerialNumber = model["digest"]
    made.SoftwareVersions = str(model["version"])
    made.DeviceUID = made_uid("model", model["digest"])
    made.ConversionType = "WSD"
    made.ContentDate = made.InstanceCreationDate = at.date()
    made.ContentTime = made.InstanceCreationTime = at.time()
    made.ImageComments = f"{WORDS}. {what}, {source.document['version']['status']}: where {of_model} saw it."
    made.DerivationDescription = f"Heat map of {one.finding['code']} by {of_model}, blended over the frame"


def _place(made: Dataset, instance: IndexedInstance) -> None:
    """Of what part of the body it is, on which side; a part that there is once has none (PS3.3, C.7.3.1)."""
    made.PatientOrientation = ""
    if instance.body_part_examined in UNPAIRED:
        made.BodyPartExamined = instance.body_part_examined
    elif instance.laterality in SIDES and _CODE_STRING.fullmatch(instance.body_part_examined):
        made.BodyPartExamined, made.Laterality = instance.body_part_examined, instance.laterality
    else:
        made.Laterality = ""


def _reference(one: Shown) -> Dataset:
    """The image that the heat map lies over; its frame, where it has several."""
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID = one.instance.sop_class_uid
    item.ReferencedSOPInstanceUID = one.instance.sop_instance_uid
    if one.instance.number_of_frames > 1:
        item.ReferencedFrameNumber = one.frame
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code[0], code[1], code[2]
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
