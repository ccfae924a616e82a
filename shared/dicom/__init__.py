"""DICOM reading with limits: bytes -> header, dataset, frames, modality units."""
