"""The common ground: configuration, states, errors, database, queue names, content store, DICOM reading."""
