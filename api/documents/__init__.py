"""A report version -> documents: HTML, PDF, DICOM SR, heat maps as Secondary Capture, FHIR."""
