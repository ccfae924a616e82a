"""DICOMweb (PS3.18): frames as pictures, and the list of a series that a viewer needs."""
