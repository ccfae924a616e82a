"""Why a file, an item or a shard ended as it did: the reasons, their words, and the classes of failures."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a file, an item or a shard ended as it did; `REASON_TEXTS` says it in words."""

    INVALID = "invalid"
    EMPTY_FILE = "empty_file"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    DICOMDIR = "dicomdir"
    PROGRAM_IN_PREAMBLE = "program_in_preamble"
    MISSING_UID = "missing_uid"
    INVALID_UID = "invalid_uid"
    TOO_LARGE = "too_large"
    INFLATED_TOO_LARGE = "inflated_too_large"
    NESTED_TOO_DEEP = "nested_too_deep"
    PIXELS_TOO_LARGE = "pixels_too_large"
    PARSE_CRASHED = "parse_crashed"
    PARSE_TIMEOUT = "parse_timeout"
    NO_PIXEL_DATA = "no_pixel_data"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    UNSUPPORTED_PHOTOMETRIC_INTERPRETATION = "unsupported_photometric_interpretation"
    DECODE_FAILED = "decode_failed"
    DECODE_CRASHED = "decode_crashed"
    DECODE_TIMEOUT = "decode_timeout"
    DECODE_OUT_OF_MEMORY = "decode_out_of_memory"
    DECODERS_DISAGREE = "decoders_disagree"
    DECODE_UNCONFIRMED = "decode_unconfirmed"
    NOT_ACCEPTED_BY_MODEL = "not_accepted_by_model"
    NOT_SELECTED = "not_selected"
    INVALID_MODEL_PACKAGE = "invalid_model_package"
    INVALID_ARCHIVE = "invalid_archive"
    ARCHIVE_TOO_LARGE = "archive_too_large"
    TOO_MANY_ENTRIES = "too_many_entries"
    UNSAFE_PATH = "unsafe_path"
    NESTED_ARCHIVE = "nested_archive"
    ENCRYPTED = "encrypted"
    BLOB_MISSING = "blob_missing"
    NON_FINITE_PROBABILITY = "non_finite_probability"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_TIMEOUT = "engine_timeout"
    ENGINE_OUT_OF_MEMORY = "engine_out_of_memory"
    ENGINE_MISSING = "engine_missing"
    WORKER_CRASHED = "worker_crashed"
    TOO_FEW_LABELS = "too_few_labels"
    NOT_TRAINABLE = "not_trainable"
    TRAINING_FAILED = "training_failed"
    BYTES_DIFFER = "bytes_differ"
    PREDICTION_DIFFERS = "prediction_differs"
    RECORD_DIFFERS = "record_differs"
    CANCELLED = "cancelled"


REASON_TEXTS: dict[Reason, str] = {
    Reason.INVALID: "The input is not valid.",
    Reason.EMPTY_FILE: "The file holds no bytes.",
    Reason.NOT_DICOM: "The file is not DICOM (PS3.10), or cannot be parsed as DICOM.",
    Reason.TRUNCATED: "The file ends before its contents do; send it again.",
    Reason.DICOMDIR: "A DICOMDIR lists other files; send the files themselves.",
    Reason.PROGRAM_IN_PREAMBLE: "The 128 bytes before DICM begin like a program (PE, ELF, Mach-O or a script).",
    Reason.MISSING_UID: "A Study, Series, SOP Instance or SOP Class UID is missing.",
    Reason.INVALID_UID: "A UID is not made of at most 64 digits and dots (PS3.5, section 9).",
    Reason.TOO_LARGE: "The file is larger than is accepted.",
    Reason.INFLATED_TOO_LARGE: "The deflated data set inflates to more than is accepted.",
    Reason.NESTED_TOO_DEEP: "Sequences are nested deeper than is accepted.",
    Reason.PIXELS_TOO_LARGE: "Rows x columns x samples x frames claim more pixels than is accepted.",
    Reason.PARSE_CRASHED: "Reading the header ended the limited process that read it.",
    Reason.PARSE_TIMEOUT: "Reading the header took longer than is allowed.",
    Reason.NO_PIXEL_DATA: "The instance has no pixel data, so there is nothing to predict on.",
    Reason.UNSUPPORTED_TRANSFER_SYNTAX: "No installed decoder reads this transfer syntax.",
    Reason.UNSUPPORTED_PHOTOMETRIC_INTERPRETATION: "This photometric interpretation is not supported.",
    Reason.DECODE_FAILED: "The pixel data cannot be decoded.",
    Reason.DECODE_CRASHED: "Decoding the pixel data ended the limited process that decoded it.",
    Reason.DECODE_TIMEOUT: "Decoding the pixel data took longer than is allowed.",
    Reason.DECODE_OUT_OF_MEMORY: "Decoding the pixel data needs more memory than is allowed.",
    Reason.DECODERS_DISAGREE: "Two independent decoders give different pixels, so neither is believed.",
    Reason.DECODE_UNCONFIRMED: "Only one of the two decoders that must agree can read the pixel data.",
    Reason.NOT_ACCEPTED_BY_MODEL: "The model package does not accept this instance.",
    Reason.NOT_SELECTED: "The model package predicts on other slices of this series.",
    Reason.INVALID_MODEL_PACKAGE: "The model package cannot be loaded.",
    Reason.INVALID_ARCHIVE: "The zip is damaged or is not a zip.",
    Reason.ARCHIVE_TOO_LARGE: "The zip inflates to more than is accepted.",
    Reason.TOO_MANY_ENTRIES: "The zip holds more entries than are accepted.",
    Reason.UNSAFE_PATH: "The entry's name leaves the archive or is not a plain file.",
    Reason.NESTED_ARCHIVE: "A zip inside a zip is not opened; send the inner one by itself.",
    Reason.ENCRYPTED: "The entry is encrypted.",
    Reason.BLOB_MISSING: "The stored bytes are gone or damaged.",
    Reason.NON_FINITE_PROBABILITY: "The model gave a value that is not a number.",
    Reason.ENGINE_CRASHED: "Predicting on this ended the engine's process three times; it is set aside for a person.",
    Reason.ENGINE_TIMEOUT: "Predicting on this took longer than is allowed three times; it is set aside for a person.",
    Reason.ENGINE_OUT_OF_MEMORY: "The engine has not enough memory to predict on this, even alone.",
    Reason.ENGINE_MISSING: "The worker lacks what runs this kind of weights; install it, then try again.",
    Reason.WORKER_CRASHED: "The worker that held this died three times; it is set aside for a person to look at.",
    Reason.TOO_FEW_LABELS: "There are not enough labelled images to learn from.",
    Reason.NOT_TRAINABLE: "This package's network cannot be trained here.",
    Reason.TRAINING_FAILED: "The training's numbers are no numbers any more.",
    Reason.BYTES_DIFFER: "The stored bytes are not those that the report was made of.",
    Reason.PREDICTION_DIFFERS: "Computed again, the probabilities are not those on record.",
    Reason.RECORD_DIFFERS: "The record of the report is not what it was when the report was made.",
    Reason.CANCELLED: "The job was cancelled before this was predicted.",
}


class Failure(StrEnum):
    """The class of a failure, which settles whether and when it is tried again."""

    PERMANENT = "permanent"  # bad input or not accepted: the same answer each time
    TRANSIENT = "transient"  # storage, database or broker: again after a while, as often as it takes
    RESOURCE = "resource"  # memory: again with less at once
    CRASH = "crash"  # a process died: again alone, then quarantined
    TIMEOUT = "timeout"  # a process hung and was killed: as a crash
    CANCELLED = "cancelled"


_FAILURE_OF: dict[Reason, Failure | None] = {
    Reason.NOT_SELECTED: None,  # no failure: it is left out on purpose
    Reason.PARSE_CRASHED: Failure.CRASH,
    Reason.DECODE_CRASHED: Failure.CRASH,
    Reason.WORKER_CRASHED: Failure.CRASH,
    Reason.ENGINE_CRASHED: Failure.CRASH,
    Reason.PARSE_TIMEOUT: Failure.TIMEOUT,
    Reason.DECODE_TIMEOUT: Failure.TIMEOUT,
    Reason.ENGINE_TIMEOUT: Failure.TIMEOUT,
    Reason.DECODE_OUT_OF_MEMORY: Failure.RESOURCE,
    Reason.ENGINE_OUT_OF_MEMORY: Failure.RESOURCE,
    Reason.CANCELLED: Failure.CANCELLED,
}


# What tells that something was altered, where a verification ends with it.
ALTERED = frozenset({Reason.BYTES_DIFFER, Reason.BLOB_MISSING, Reason.PREDICTION_DIFFERS, Reason.RECORD_DIFFERS})


def failure_of(reason: Reason) -> Failure | None:
    """The class of an item's reason; None where it names no failure."""
    return _FAILURE_OF.get(reason, Failure.PERMANENT)


def reasons_of(failure: Failure) -> frozenset[Reason]:
    """All reasons of a class."""
    return frozenset(reason for reason in Reason if failure_of(reason) is failure)
